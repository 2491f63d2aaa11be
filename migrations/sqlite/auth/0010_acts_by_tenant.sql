-- Tenants take turns: the oldest acts of one are found beside those of the others.
DROP INDEX act_outbox_by_place;
CREATE INDEX act_outbox_by_tenant ON act_outbox (is_settled, tenant, place);
