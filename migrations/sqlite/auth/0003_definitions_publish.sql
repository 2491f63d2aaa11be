-- Publishing has a scope of its own; whoever could publish until now still can.
UPDATE client
SET scopes = CASE
    WHEN scopes LIKE '%definitions:read definitions:write%'
    THEN REPLACE(scopes, 'definitions:read definitions:write',
                 'definitions:publish definitions:read definitions:write')
    ELSE REPLACE(scopes, 'definitions:write', 'definitions:publish definitions:write')
END
WHERE scopes LIKE '%definitions:write%';
