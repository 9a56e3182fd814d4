//! Which keys a connection has written whose writes may not be visible yet.

use hashring::Token;
use net::Replies;

/// Keys remembered; one more write, and the connection waits until all are settled.
const KEY_COUNT_MAX: usize = 4096;

/// The keys of a connection's writes that are not known to be settled, each by half of its token.
///
/// Two keys with the same half cost one needless wait, so a hash is enough.
#[derive(Debug, Default)]
pub(crate) struct OwnWrites {
    keys: Vec<u64>,
}

impl OwnWrites {
    /// Notes writes of the keys at `tokens`, which were left to the committer.
    pub(crate) fn note(&mut self, tokens: &[Token], replies: &Replies) {
        if self.keys.len() >= KEY_COUNT_MAX {
            replies.wait_completed();
        }
        if replies.is_settled() || self.keys.len() >= KEY_COUNT_MAX {
            self.keys.clear();
        } else {
            self.keys.extend(tokens.iter().copied().map(half));
        }
    }

    /// Waits until this connection's writes of the key at `token` are settled.
    pub(crate) fn wait_for(&mut self, token: Token, replies: &Replies) {
        if self.keys.is_empty() {
            return;
        }
        if replies.is_settled() {
            self.keys.clear();
        } else if self.keys.contains(&half(token)) {
            replies.wait_completed();
            self.keys.clear();
        }
    }
}

fn half(token: Token) -> u64 {
    u64::try_from(token.0 & u128::from(u64::MAX)).unwrap_or_default()
}
