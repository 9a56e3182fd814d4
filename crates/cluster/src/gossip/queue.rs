//! Of whom there is something to tell, and how often it was told: the least told first.
//!
//! The queue holds names, not what is said of them: that is taken from the member when a message is made. So it is
//! never older than what this server knows, and there is never more than one rumour of a member.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::ServerId;

/// The queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// How often told, and a number that rises: of those told as often the one that waits longest comes first.
    order: BTreeSet<(u32, u64, ServerId)>,
    places: BTreeMap<ServerId, (u32, u64)>,
    next: u64,
}

impl Queue {
    /// Puts a member in, as never told.
    pub(super) fn add(&mut self, server: ServerId) {
        self.put(server, 0);
    }

    /// Puts a member in, as never told, if it is not there.
    pub(super) fn add_if_absent(&mut self, server: ServerId) {
        if !self.places.contains_key(&server) {
            self.add(server);
        }
    }

    fn put(&mut self, server: ServerId, count: u32) {
        self.remove(server);
        self.next += 1;
        self.places.insert(server, (count, self.next));
        self.order.insert((count, self.next, server));
    }

    pub(super) fn remove(&mut self, server: ServerId) {
        if let Some((count, number)) = self.places.remove(&server) {
            self.order.remove(&(count, number, server));
        }
    }

    /// Notes that a member was told of once more; it is done with at `count_max`.
    pub(super) fn told(&mut self, server: ServerId, count_max: u32) {
        let Some((count, _)) = self.places.get(&server) else { return };
        let count = count + 1;
        if count < count_max || mutant!("rumours told for ever") {
            self.put(server, count);
        } else {
            self.remove(server);
        }
    }

    /// Returns the members, the least told first.
    pub(super) fn iter(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.order.iter().map(|(_, _, server)| *server)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_told_comes_first_and_each_goes_when_it_was_told_often_enough() {
        let mut queue = Queue::default();
        let names = |queue: &Queue| queue.iter().map(|id| id.0).collect::<Vec<_>>();
        for name in [3, 1, 2] {
            queue.add(ServerId(name));
        }
        assert_eq!(names(&queue), [3, 1, 2]);
        queue.told(ServerId(3), 2);
        assert_eq!(names(&queue), [1, 2, 3]);
        queue.told(ServerId(1), 2);
        queue.told(ServerId(3), 2);
        assert_eq!(names(&queue), [2, 1], "told twice");
        queue.add(ServerId(1));
        assert_eq!(names(&queue), [2, 1], "as new");
        queue.told(ServerId(9), 2);
        queue.remove(ServerId(2));
        assert_eq!((names(&queue), queue.len()), (vec![1], 1));
    }
}
