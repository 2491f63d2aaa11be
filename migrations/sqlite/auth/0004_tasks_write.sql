-- Sending back the tokens of tasks has a scope; whoever can start workflows is given it. Scopes stay sorted.
UPDATE client
SET scopes = CASE
    WHEN scopes LIKE '%tenant:read%'
    THEN REPLACE(scopes, 'tenant:read', 'tasks:write tenant:read')
    WHEN scopes LIKE '%tenant:write%'
    THEN REPLACE(scopes, 'tenant:write', 'tasks:write tenant:write')
    WHEN scopes LIKE '%workflows:read%'
    THEN REPLACE(scopes, 'workflows:read', 'tasks:write workflows:read')
    ELSE REPLACE(scopes, 'workflows:write', 'tasks:write workflows:write')
END
WHERE scopes LIKE '%workflows:write%';
