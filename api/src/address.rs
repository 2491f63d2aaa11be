//! The network address of a caller, for limits.

use std::net::IpAddr;

use poem::{Addr, Request};

/// The address that a limit is counted against, where there is one.
#[must_use]
pub fn of(request: &Request) -> Option<String> {
    let Addr::SocketAddr(peer) = request.remote_addr().0 else {
        return None;
    };
    Some(resolve(peer.ip(), request.header("x-forwarded-for")).to_string())
}

/// Behind our own proxy (it runs in the same task and calls over loopback) that
/// is the last entry of `X-Forwarded-For`, the one that the proxy itself wrote;
/// from anywhere else the header is what a caller likes it to be, and ignored.
fn resolve(peer: IpAddr, forwarded: Option<&str>) -> IpAddr {
    if !peer.is_loopback() {
        return peer;
    }
    let last = forwarded.and_then(|it| it.rsplit(',').next());
    last.and_then(|it| it.trim().parse().ok()).unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, forwarded: Option<&str>, expected: &str) {
        assert_eq!(
            resolve(peer.parse().unwrap(), forwarded).to_string(),
            expected
        );
    }

    #[test]
    fn only_our_own_proxy_may_say_for_whom_it_calls() {
        check("203.0.113.9", None, "203.0.113.9");
        check("203.0.113.9", Some("198.51.100.1"), "203.0.113.9");
        check("127.0.0.1", Some("10.0.0.1, 198.51.100.1"), "198.51.100.1");
        check("127.0.0.1", Some("nonsense"), "127.0.0.1");
    }
}
