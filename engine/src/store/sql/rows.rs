//! Columns as values.

use btrust_schemas::ids::WorkflowId;

use super::{Db, Row, decode};
use crate::store::StoreError;

/// Most ids in one `IN` list; below every database's limit on bound values.
pub(crate) const IN_LIST_MAX: usize = 200;

/// The value of a column.
///
/// # Errors
///
/// [`StoreError::Corrupt`] when there is something else in it.
pub(crate) fn get<'r, T>(row: &'r Row, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, Db> + sqlx::Type<Db>,
{
    decode(row, column).map_err(|_| StoreError::Corrupt {
        what: format!("the column `{column}`"),
    })
}

/// The id in the column `workflow`.
pub(crate) fn id(row: &Row) -> Result<WorkflowId, StoreError> {
    let text: String = get(row, "workflow")?;
    text.parse().map_err(|_| StoreError::Corrupt {
        what: "the column `workflow`".to_owned(),
    })
}

/// Adds ids and the closing bracket of their list.
pub(crate) fn push_ids(query: &mut sqlx::QueryBuilder<Db>, ids: &[WorkflowId]) {
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(id.to_string());
    }
    list.push_unseparated(")");
}
