//! The heads of act logs.

use sqlx::QueryBuilder;

use super::rows::{IN_LIST_MAX, get};
use super::{Db, SqlStore, unavailable};
use crate::store::{ActLog, ActsWanted, StoreError};

pub(super) async fn act_logs(
    store: &SqlStore,
    wanted: &[ActsWanted],
) -> Result<Vec<ActLog>, StoreError> {
    let mut logs = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let log = wanted.log.to_string();
        let head = sqlx::query("SELECT chain, n_audit FROM act_log WHERE log = ?")
            .bind(&log)
            .fetch_optional(store.pool())
            .await
            .map_err(unavailable)?;
        let Some(head) = head else { continue };
        let mut known = Vec::new();
        for chunk in wanted.acts.chunks(IN_LIST_MAX) {
            let mut query = QueryBuilder::<Db>::new("SELECT act FROM act WHERE log = ");
            query.push_bind(&log).push(" AND act IN (");
            let mut list = query.separated(", ");
            // The last one fills the list up to a power of two, so that few texts are ever prepared.
            let padding = chunk.last().into_iter().cycle();
            let n_bound = chunk.len().next_power_of_two();
            for act in chunk.iter().chain(padding).take(n_bound) {
                list.push_bind(act);
            }
            list.push_unseparated(")");
            let rows = query.build().fetch_all(store.pool()).await;
            for row in rows.map_err(unavailable)? {
                known.push(get(&row, "act")?);
            }
        }
        logs.push(ActLog {
            log: wanted.log,
            chain: get(&head, "chain")?,
            n_audit: get(&head, "n_audit")?,
            known,
        });
    }
    Ok(logs)
}
