-- Proofs of the audit log have a scope of their own; administrators, who make clients, are given it. Scopes stay sorted.
UPDATE client
SET scopes = REPLACE(scopes, 'clients:write', 'audit:read clients:write')
WHERE scopes LIKE '%clients:write%' AND scopes NOT LIKE '%audit:read%';
