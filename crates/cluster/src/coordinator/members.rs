//! What can become of a slot's members: each change as a function from the slot as it is to the slot as it will be.
//!
//! ```text
//!   nobody ──begin──▶ primary                       renew: the primary's new life
//!   nobody ──name──▶ learner ──promote──▶ backup ──depose, hand over──▶ primary
//!            learner ──drop──▶ nobody     backup ──remove, take out──▶ nobody
//!            primary ──hand over──▶ backup          primary ──depose, take out──▶ nobody
//!            primary, the only member, ──take out──▶ former ──force──▶ primary
//! ```
//!
//! Each function returns `None` where the change is not the asker's to ask for, or there is nothing to change, and else the
//! slot with its epoch raised by one. A change of primary, or of the primary's life, begins a term (R19). Except for
//! `begin` and `force`, whoever becomes primary was a member before (R17): a learner has no way there but by `promote`.
//!
//! An epoch has 24 bits, because it stands in each record's lsn. Changes that can happen for ever, learners, stop
//! [`EPOCH_RESERVE`] before the end, so that restarts and accusations still get their epoch.

use crate::map::Slot;
use crate::types::{Epoch, Incarnation, ServerId};

/// A server in one of its lives.
pub(super) type Life = (ServerId, Incarnation);

/// The last epoch that fits an lsn.
const EPOCH_MAX: u32 = (1 << 24) - 1;

/// Epochs that learners leave to others: enough for one restart a minute in 45 days.
const EPOCH_RESERVE: u32 = 1 << 16;

/// A slot that never had a member gets its first.
pub(super) fn begin(slot: &Slot, first: Life) -> Option<Slot> {
    (slot.epoch == Epoch(0)).then(|| with_primary(raised(slot), first))
}

/// A backup accuses the primary and takes its place.
pub(super) fn depose(slot: &Slot, asker: Life) -> Option<Slot> {
    slot.backups.contains(&asker.0).then(|| with_primary(raised(slot), asker))
}

/// The primary accuses a backup.
pub(super) fn remove(slot: &Slot, asker: Life, member: ServerId) -> Option<Slot> {
    let is_right = slot.primary == Some(asker) && slot.backups.contains(&member);
    is_right.then(|| without_backup(raised(slot), member))
}

/// The primary says that the learner has everything.
pub(super) fn promote(slot: &Slot, asker: Life, learner: Life) -> Option<Slot> {
    let is_right = slot.primary == Some(asker) && slot.learner == Some(learner);
    is_right.then(|| {
        let mut next = raised(slot);
        next.learner = None;
        next.backups.push(learner.0);
        next
    })
}

/// The primary changes places with a backup.
pub(super) fn hand_over(slot: &Slot, asker: Life, to: Life) -> Option<Slot> {
    let is_right = slot.primary == Some(asker) && slot.backups.contains(&to.0);
    is_right.then(|| {
        let mut next = with_primary(raised(slot), to);
        next.backups.push(asker.0);
        next
    })
}

/// A complete server is back in a new life.
pub(super) fn renew(slot: &Slot, life: Life) -> Option<Slot> {
    if slot.learner_id() == Some(life.0) {
        return drop_learner(slot);
    }
    (slot.primary_id() == Some(life.0)).then(|| with_primary(raised(slot), life))
}

/// A server has lost its data: whatever it was, it is nothing now. `heir` is the backup that follows a primary.
pub(super) fn take_out(slot: &Slot, server: ServerId, heir: Option<Life>) -> Option<Slot> {
    if slot.learner_id() == Some(server) {
        return drop_learner(slot);
    }
    if slot.backups.contains(&server) {
        return Some(without_backup(raised(slot), server));
    }
    if slot.primary_id() != Some(server) {
        return None;
    }
    let next = raised(slot);
    Some(match heir {
        Some(heir) => {
            assert!(slot.backups.contains(&heir.0), "only a member may become primary");
            with_primary(next, heir)
        }
        None => {
            assert!(slot.backups.is_empty(), "a slot with a member left is not given up");
            Slot { primary: None, learner: None, former: vec![server], ..next }
        }
    })
}

/// A server shall be brought up to date.
pub(super) fn name(slot: &Slot, learner: Life) -> Option<Slot> {
    let is_free = slot.primary.is_some() && !slot.is_holder(learner.0) && slot.learner.is_none();
    let has_epochs = slot.epoch.0 < EPOCH_MAX - EPOCH_RESERVE;
    (is_free && has_epochs).then(|| Slot { learner: Some(learner), ..raised(slot) })
}

/// The learner shall be one no longer.
pub(super) fn drop_learner(slot: &Slot) -> Option<Slot> {
    slot.learner.is_some().then(|| Slot { learner: None, ..raised(slot) })
}

/// An operator takes the copy of a former member for complete.
pub(super) fn force(slot: &Slot, life: Life) -> Option<Slot> {
    let is_right = slot.primary.is_none() && slot.former.contains(&life.0);
    is_right.then(|| with_primary(Slot { former: Vec::new(), ..raised(slot) }, life))
}

fn raised(slot: &Slot) -> Slot {
    assert!(slot.epoch.0 < EPOCH_MAX, "epochs are used up");
    Slot { epoch: slot.epoch.next(), ..slot.clone() }
}

/// Begins a term: the primary before is no member any more.
fn with_primary(mut slot: Slot, primary: Life) -> Slot {
    slot.backups.retain(|backup| *backup != primary.0);
    Slot { primary: Some(primary), term: slot.epoch, ..slot }
}

fn without_backup(mut slot: Slot, backup: ServerId) -> Slot {
    slot.backups.retain(|other| *other != backup);
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Life = (ServerId(0xa), Incarnation(1));
    const B: Life = (ServerId(0xb), Incarnation(2));
    const C: Life = (ServerId(0xc), Incarnation(3));
    const D: Life = (ServerId(0xd), Incarnation(4));

    fn slot() -> Slot {
        Slot {
            epoch: Epoch(7),
            term: Epoch(5),
            primary: Some(A),
            backups: vec![B.0, C.0],
            learner: Some(D),
            ..Slot::default()
        }
    }

    /// The outcome as text: epoch, term, primary with its life, backups, learner.
    fn told(slot: Option<Slot>) -> String {
        let Some(slot) = slot else { return "-".to_owned() };
        let life = |life: Option<Life>| life.map_or("-".into(), |(id, n)| format!("{:x}{n}", id.0));
        let backups: String = slot.backups.iter().map(|id| format!("{:x}", id.0)).collect();
        let (primary, learner) = (life(slot.primary), life(slot.learner));
        format!("{}/{} {primary} {backups} {learner}", slot.epoch, slot.term)
    }

    #[test]
    fn each_change_of_members_is_made_for_whom_it_is_due_and_for_nobody_else() {
        let s = slot();
        let old = (A.0, Incarnation(0));
        let none = Slot { primary: None, former: vec![C.0], ..Slot::default() };
        for (found, expected) in [
            (depose(&s, B), "8/8 b2 c d4"),
            (depose(&s, A), "-"),
            (depose(&s, D), "-"),
            (remove(&s, A, C.0), "8/5 a1 b d4"),
            (remove(&s, B, C.0), "-"),
            (remove(&s, old, C.0), "-"),
            (remove(&s, A, D.0), "-"),
            (remove(&s, A, A.0), "-"),
            (promote(&s, A, D), "8/5 a1 bcd -"),
            (promote(&s, B, D), "-"),
            (promote(&s, old, D), "-"),
            (promote(&s, A, (D.0, Incarnation(5))), "-"),
            (promote(&s, A, B), "-"),
            (hand_over(&s, A, C), "8/8 c3 ba d4"),
            (hand_over(&s, old, C), "-"),
            (hand_over(&s, A, D), "-"),
            (hand_over(&s, A, A), "-"),
            (renew(&s, (A.0, Incarnation(9))), "8/8 a9 bc d4"),
            (renew(&s, (B.0, Incarnation(9))), "-"),
            (renew(&s, (D.0, Incarnation(9))), "8/5 a1 bc -"),
            (take_out(&s, A.0, Some(C)), "8/8 c3 b d4"),
            (take_out(&s, B.0, None), "8/5 a1 c d4"),
            (take_out(&s, D.0, None), "8/5 a1 bc -"),
            (take_out(&s, ServerId(1), None), "-"),
            (name(&s, (ServerId(1), Incarnation(1))), "-"),
            (drop_learner(&s), "8/5 a1 bc -"),
            (begin(&s, A), "-"),
            (begin(&Slot::default(), A), "1/1 a1  -"),
            (force(&s, A), "-"),
            (force(&none, A), "-"),
            (force(&none, C), "1/1 c3  -"),
        ] {
            assert_eq!(told(found), expected);
        }
    }

    #[test]
    fn the_only_member_leaves_a_slot_that_knows_who_held_it() {
        let s = Slot { backups: Vec::new(), ..slot() };
        let left = take_out(&s, A.0, None).unwrap();
        assert_eq!((left.primary, left.learner, &left.former), (None, None, &vec![A.0]));
        assert_eq!(told(Some(left)), "8/5 -  -");
    }

    #[test]
    fn learners_are_named_up_to_the_reserve_of_epochs_and_not_one_past() {
        let at = |epoch| Slot { epoch: Epoch(epoch), learner: None, ..slot() };
        assert!(name(&at(EPOCH_MAX - EPOCH_RESERVE - 1), D).is_some());
        assert!(name(&at(EPOCH_MAX - EPOCH_RESERVE), D).is_none());
        assert!(depose(&at(EPOCH_MAX - EPOCH_RESERVE), B).is_some());
    }
}
