//! Calls between processes: late, lost, doubled, and out of order.

use std::sync::Arc;
use std::time::Duration;

use super::node::Node;
use super::world::World;

/// How long a caller waits for an answer, longer than any long poll.
const CALL_TIMEOUT: Duration = Duration::from_secs(40);
/// How soon a caller hears that nobody listens.
const REFUSED_AFTER: Duration = Duration::from_millis(50);

/// Calls a node; `None` when no answer has come.
pub async fn call<T, W>(
    world: &Arc<World>,
    node: &Arc<Node>,
    work: impl FnOnce(Arc<Node>) -> W,
) -> Option<T>
where
    T: Send + 'static,
    W: Future<Output = T> + Send + 'static,
{
    if world.strikes(world.weather.network) {
        match world.chance.below(3) {
            0 => {
                world.note(format_args!("a request is lost"));
                tokio::time::sleep(Duration::from_secs(2)).await;
                return None;
            }
            1 => {
                // It arrives after those that come later.
                world.note(format_args!("a request is late"));
                let late = arrive(Arc::clone(world), Arc::clone(node), work(Arc::clone(node)));
                tokio::spawn(late);
                tokio::time::sleep(Duration::from_millis(500)).await;
                return None;
            }
            _ => {
                world.note(format_args!("an answer is lost"));
                arrive(Arc::clone(world), Arc::clone(node), work(Arc::clone(node))).await;
                return None;
            }
        }
    }
    let answer = arrive(Arc::clone(world), Arc::clone(node), work(Arc::clone(node))).await;
    world.pause_a_little().await;
    answer
}

async fn arrive<T>(world: Arc<World>, node: Arc<Node>, work: impl Future<Output = T>) -> Option<T> {
    world.pause().await;
    let process = &node.process;
    let served = async {
        process.runs().await;
        let answer = work.await;
        process.runs().await;
        answer
    };
    tokio::select! {
        biased;
        () = process.dies() => {
            tokio::time::sleep(REFUSED_AFTER).await;
            None
        }
        answer = tokio::time::timeout(CALL_TIMEOUT, served) => answer.ok(),
    }
}
