//! Leases between two servers: what each granted the other, and when it runs out (R13 to R15, R21).
//!
//! ```text
//!        holder                              grantor
//!  t ──── beacon sent t ───────────────▶ r   heard_at = r
//!    ◀─── beacon, echo t, grant, v ─────     granted_at = r: promised until r + G (or r + L')
//!  holds until t + L (or t + L')
//! ```
//!
//! The holder counts from when it **sent** the message that was echoed, the grantor from when it **received** it: the
//! holder's end is always the earlier one, whatever the delays. Clocks need not agree, only run at about one rate.
//!
//! A grant is made to a server, not for a slot, and carries the version of the grantor's map. The holder uses it for a
//! slot only if both knew the slot alike: the slot's newest change that the holder knows is not newer than
//! the grant, **and the grant is not of a map that the holder does not have yet**. Without the second half a
//! deposed primary could count grants that its former backups gave it as a bystander, after
//! they had learned of its successor.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::types::{Incarnation, ServerId, Time, Version};

/// Grants remembered of one peer: a newer one may be of a map that is still on its way, or grant less, so the ones before it
/// are kept while they last. At one beacon each 100 ms and 400 ms of lease that is a handful. Beacons of changed maps come in between, each 20 ms
/// at most; should there be more, the newest that counts for the present map is kept whatever comes.
const GRANT_COUNT_MAX: usize = 24;

/// A grant received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// When the message was sent here that the grant answers.
    pub(crate) sent_at: Time,
    /// The version of the grantor's map.
    pub(crate) version: Version,
    /// Whether it is a primary lease.
    pub(crate) is_primary: bool,
    /// Whether it is a read lease.
    pub(crate) is_read: bool,
    /// From whom the grantor held primary leases.
    pub(crate) leases: BTreeMap<ServerId, Version>,
}

/// Both sides of the leases between this server and one peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease {
    grants: VecDeque<Grant>,
    /// The newest beacon heard: the peer's life, its `sent_at`, and when it came.
    heard: Option<(Incarnation, Time, Time)>,
    /// When the newest message was sent here that the peer has heard, as it echoes.
    echoed_at: Option<Time>,
    /// The latest receipt that a read grant to the peer answered.
    read_granted_at: Option<Time>,
}

impl Lease {
    /// Notes a beacon that came.
    pub(crate) fn hear(&mut self, now: Time, incarnation: Incarnation, sent_at: Time) {
        let is_older =
            self.heard.is_some_and(|(life, sent, _)| (life, sent) > (incarnation, sent_at));
        if !is_older {
            self.heard = Some((incarnation, sent_at, now));
        }
    }

    /// Notes a grant that came, where the holder's map is at `at`, and forgets those that have lasted for all of `lasting`. A late
    /// one never shortens anything, and one of a map that is still on its way takes nothing from the map that is here.
    pub(crate) fn hold(&mut self, grant: Grant, at: Version, (now, lasting): (Time, Duration)) {
        self.grants.retain(|held| now < held.sent_at + lasting);
        if self.grants.len() == GRANT_COUNT_MAX {
            let known = self.grants.iter().enumerate().filter(|(_, held)| held.version <= at);
            let kept = known.max_by_key(|(_, held)| held.sent_at).map(|(index, _)| index);
            let oldest = usize::from(kept == Some(0));
            self.grants.remove(oldest);
        }
        self.echoed_at = self.echoed_at.max(Some(grant.sent_at));
        self.grants.push_back(grant);
    }

    /// Returns when the newest message was sent here that the peer has heard.
    pub(crate) fn echoed_at(&self) -> Option<Time> {
        self.echoed_at
    }

    /// Returns what to echo: the peer's life and the `sent_at` of its newest beacon.
    pub(crate) fn echo(&self) -> Option<(Incarnation, Time)> {
        self.heard.map(|(life, sent_at, _)| (life, sent_at))
    }

    /// Returns when the peer's newest beacon came.
    pub(crate) fn heard_at(&self) -> Option<Time> {
        self.heard.map(|(_, _, at)| at)
    }

    /// Notes that a read lease goes out with the present echo.
    pub(crate) fn note_read_grant(&mut self) {
        self.read_granted_at = self.heard_at();
    }

    /// Returns whether every read lease given to the peer has run out for certain (R21).
    pub(crate) fn is_read_over(&self, now: Time, read_lease: Duration, margin: Duration) -> bool {
        self.read_granted_at.is_none_or(|at| now.since(at) >= read_lease + margin)
    }

    /// Returns the version of the newest primary lease that lasts, for the beacon's list.
    pub(crate) fn primary_version(
        &self,
        now: Time,
        lease: Duration,
        at: Version,
    ) -> Option<Version> {
        let lasting = self.grants.iter().filter(|g| g.is_primary && now < g.sent_at + lease);
        lasting.map(|grant| grant.version).filter(|version| *version <= at).max()
    }

    /// Returns when the last primary lease ends that counts for a slot changed last at `changed`, with the map at `at`.
    pub(crate) fn primary_until(
        &self,
        lease: Duration,
        changed: Version,
        at: Version,
    ) -> Option<Time> {
        let that_count = |grant: &&Grant| grant.is_primary && counts(grant.version, changed, at);
        self.grants.iter().filter(that_count).map(|grant| grant.sent_at + lease).max()
    }

    /// Returns when the last read lease ends that counts for a slot changed last at `changed`, of which `backups` are the
    /// backups: its primary must have held a primary lease of each.
    pub(crate) fn read_until(
        &self,
        read_lease: Duration,
        (changed, at): (Version, Version),
        backups: &[ServerId],
    ) -> Option<Time> {
        let that_count = |grant: &&Grant| {
            let is_held = |other| grant.leases.get(other).is_some_and(|held| *held >= changed);
            grant.is_read && counts(grant.version, changed, at) && backups.iter().all(is_held)
        };
        self.grants.iter().filter(that_count).map(|grant| grant.sent_at + read_lease).max()
    }
}

/// Returns whether a grant of a map's `version` counts for a slot that changed last at `changed` in the holder's map, which
/// is at `at`.
fn counts(version: Version, changed: Version, at: Version) -> bool {
    if mutant!("a pair's grant used for a slot that changed since") {
        return true;
    }
    version >= changed && (version <= at || mutant!("a grant of a newer map used"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_millis(400);

    fn ms(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    fn grant(sent_at: Time, version: u64) -> Grant {
        let (version, leases) = (Version(version), BTreeMap::new());
        Grant { sent_at, version, is_primary: true, is_read: true, leases }
    }

    fn is_primary(lease: &Lease, now: Time, changed: u64, at: u64) -> bool {
        lease.primary_until(LEASE, Version(changed), Version(at)).is_some_and(|end| now < end)
    }

    #[test]
    fn a_lease_counts_from_when_the_echoed_beacon_was_sent_r13() {
        let mut lease = Lease::default();
        lease.hold(grant(ms(1000), 5), Version(5), (ms(0), LEASE));
        assert!(is_primary(&lease, ms(1399), 5, 5));
        assert!(!is_primary(&lease, ms(1400), 5, 5));
    }

    #[test]
    fn a_late_grant_shortens_nothing_r12() {
        let mut lease = Lease::default();
        lease.hold(grant(ms(1000), 5), Version(5), (ms(0), LEASE));
        lease.hold(grant(ms(900), 5), Version(5), (ms(0), LEASE));
        assert!(is_primary(&lease, ms(1399), 5, 5));
    }

    #[test]
    fn a_grant_counts_only_for_slots_that_both_know_alike_r9() {
        let mut lease = Lease::default();
        lease.hold(grant(ms(1000), 5), Version(5), (ms(0), LEASE));
        assert!(!is_primary(&lease, ms(1001), 6, 6), "the slot changed since");
        assert!(is_primary(&lease, ms(1001), 5, 6), "another slot changed since");
        assert!(!is_primary(&lease, ms(1001), 3, 4), "of a map that is not here yet");
        assert!(is_primary(&lease, ms(1001), 3, 5), "now it is here");
    }

    #[test]
    fn what_has_run_out_is_forgotten_and_what_lasts_is_kept() {
        let mut lease = Lease::default();
        for sent in 0..100 {
            let sent_at = ms(1000 + 20 * sent);
            lease.hold(grant(sent_at, 5), Version(5), (sent_at, LEASE));
        }
        assert_eq!(lease.grants.len(), 20);
        assert_eq!(lease.grants.front().map(|held| held.sent_at), Some(ms(2600)));
    }

    #[test]
    fn the_grant_before_lasts_while_a_newer_map_is_on_its_way() {
        let mut lease = Lease::default();
        lease.hold(grant(ms(1000), 5), Version(5), (ms(0), LEASE));
        lease.hold(grant(ms(1100), 6), Version(6), (ms(0), LEASE));
        assert!(is_primary(&lease, ms(1350), 5, 5));
        assert!(!is_primary(&lease, ms(1450), 5, 5));
        assert!(is_primary(&lease, ms(1450), 6, 6));
    }

    #[test]
    fn a_holder_that_lags_many_maps_keeps_the_newest_grant_of_its_own() {
        let mut lease = Lease::default();
        lease.hold(grant(ms(900), 5), Version(5), (ms(0), LEASE));
        lease.hold(grant(ms(1000), 5), Version(5), (ms(0), LEASE));
        for later in 1..=2 * GRANT_COUNT_MAX as u64 {
            lease.hold(grant(ms(1000 + later), 5 + later), Version(5), (ms(0), LEASE));
            assert!(is_primary(&lease, ms(1399), 5, 5), "{later} versions behind");
            assert!(lease.grants.len() <= GRANT_COUNT_MAX);
        }
    }

    #[test]
    fn a_backup_reads_only_if_its_primary_held_the_lease_of_every_backup_r14() {
        let (one, two) = (ServerId(1), ServerId(2));
        let mut lease = Lease::default();
        let leases = BTreeMap::from([(one, Version(5)), (two, Version(3))]);
        lease.hold(Grant { leases, ..grant(ms(1000), 5) }, Version(5), (ms(0), LEASE));
        let is_read = |changed, backups: &[ServerId]| {
            lease.read_until(LEASE, (Version(changed), Version(5)), backups).is_some()
        };
        assert!(is_read(5, &[one]));
        assert!(is_read(3, &[one, two]));
        assert!(!is_read(5, &[one, two]), "the second knows an older map");
        assert!(!is_read(3, &[one, ServerId(3)]), "one is missing");
    }

    #[test]
    fn a_read_lease_is_over_when_what_it_answered_is_old_enough_r21() {
        let mut lease = Lease::default();
        let margin = Duration::from_millis(200);
        assert!(lease.is_read_over(ms(0), LEASE, margin), "none was given");
        lease.hear(ms(1000), Incarnation(1), ms(77));
        lease.note_read_grant();
        assert!(!lease.is_read_over(ms(1599), LEASE, margin));
        assert!(lease.is_read_over(ms(1600), LEASE, margin));
    }

    #[test]
    fn an_older_life_is_not_echoed() {
        let mut lease = Lease::default();
        lease.hear(ms(1000), Incarnation(2), ms(5));
        lease.hear(ms(1001), Incarnation(1), ms(900));
        assert_eq!(lease.echo(), Some((Incarnation(2), ms(5))));
        assert_eq!(lease.heard_at(), Some(ms(1000)));
    }
}
