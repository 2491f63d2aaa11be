-- Reading funnels has a scope of its own; administrators, who make clients, are given it. Scopes stay sorted.
UPDATE client
SET scopes = 'analytics:read ' || scopes
WHERE scopes LIKE '%clients:write%';
