-- Operating workflows has a scope of its own; administrators, who make clients, are given it. Scopes stay sorted.
UPDATE client
SET scopes = CASE
    WHEN scopes LIKE '%workflows:read%'
    THEN REPLACE(scopes, 'workflows:read', 'workflows:operate workflows:read')
    WHEN scopes LIKE '%workflows:write%'
    THEN REPLACE(scopes, 'workflows:write', 'workflows:operate workflows:write')
    ELSE scopes || ' workflows:operate'
END
WHERE scopes LIKE '%clients:write%';
