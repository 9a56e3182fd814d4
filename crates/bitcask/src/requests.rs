//! The newest request of each client, as callers see it: so that a retry is answered and not applied twice (R24).

use crate::store::Store;
use crate::types::{Lsn, Request, SlotId};

impl Store {
    /// Returns the request with the highest lsn of all that the client has in published records of the slot, and that
    /// lsn: also when its key was written anew since, after merges and after restarts.
    #[must_use]
    pub fn request(&self, slot: SlotId, client: u64) -> Option<(Request, Lsn)> {
        self.inner.keydir.lock(slot).requests.get(client)
    }

    /// Returns the newest request of each of the slot's clients, by client, as another server's copy needs them
    /// ([`Write::request`](crate::Write::request)): at most 1,024.
    ///
    /// An entry goes when the client has a newer one, when it is [forgotten](Self::forget_request), when the slot's
    /// [request floor](Self::set_request_floors) has passed its lsn, and when there are too many: then the one with
    /// the lowest lsn. To let entries go by time, note the slot's newest lsn now and then, and make it the floor when
    /// the time has passed.
    #[must_use]
    pub fn requests(&self, slot: SlotId) -> Vec<(Request, Lsn)> {
        self.inner.keydir.lock(slot).requests.iter().collect()
    }

    /// Forgets a client that needs its newest request no more; returns whether it had one. Until a merge drops the
    /// record that carried it, an opening remembers it again, which costs its entry's memory and nothing else.
    pub fn forget_request(&self, slot: SlotId, client: u64) -> bool {
        let mut locked = self.inner.keydir.lock(slot);
        let was_known = locked.requests.get(client).is_some();
        let died_in = locked.requests.forget(client);
        drop(locked);
        self.inner.bury_request(died_in);
        was_known
    }
}
