-- Webhooks have scopes of their own; administrators, who make clients, are given them. Scopes stay sorted.
UPDATE client
SET scopes = CASE
    WHEN scopes LIKE '%workflows:operate%'
    THEN REPLACE(scopes, 'workflows:operate', 'webhooks:read webhooks:write workflows:operate')
    WHEN scopes LIKE '%workflows:read%'
    THEN REPLACE(scopes, 'workflows:read', 'webhooks:read webhooks:write workflows:read')
    WHEN scopes LIKE '%workflows:write%'
    THEN REPLACE(scopes, 'workflows:write', 'webhooks:read webhooks:write workflows:write')
    ELSE scopes || ' webhooks:read webhooks:write'
END
WHERE scopes LIKE '%clients:write%';
