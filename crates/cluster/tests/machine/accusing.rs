//! When a primary asks for the removal of a backup (R15, R21).

use std::time::Duration;

use cluster::{Change, Config, Planted, SlotMessage, State};

use crate::host::{B, C, Host, ME, held, slot};

/// How a backup behaves from the beginning on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backup {
    /// It hears and is heard.
    Well,
    /// It is heard once, and never again.
    Silent,
    /// It sends beacons, which show that it hears nothing.
    Deaf,
}

/// Returns how long after it was listed a backup's removal is asked for, and whose.
fn removal(b: Backup, c: Backup) -> Option<(Duration, cluster::ServerId)> {
    let mut host = Host::new(vec![(slot(0), held(1, ME, &[B, C], None))]);
    let begin = host.now;
    host.wait(Duration::from_millis(10));
    host.connect_all();
    let outs = [B, C].map(|peer| host.out(peer));
    let links = [(host.greet(B), b), (host.greet(C), c)];
    for ((link, how), out) in links.into_iter().zip(outs) {
        host.echo(link);
        if how == Backup::Well {
            let state = State { is_last: true, ..State::default() };
            host.tell(out, 1, SlotMessage::State(state));
        }
    }
    for _ in 0..30 {
        for ((link, how), out) in links.into_iter().zip(outs) {
            match how {
                Backup::Well => {
                    host.echo(link);
                    host.ack(out);
                }
                Backup::Silent => {}
                Backup::Deaf => host.beacon(link),
            }
        }
        host.wait(Config::default().beacon_every);
        host.hear_ecs();
        let removed = host.asked().into_iter().find_map(|change| match change {
            Change::Remove { member, .. } => Some(member),
            _ => None,
        });
        if let Some(member) = removed {
            return Some((host.now.since(begin), member));
        }
    }
    None
}

#[test]
fn a_backup_that_is_silent_or_does_not_hear_its_primary_is_to_be_removed_r15() {
    let (grace, silence_max) = (Config::default().grace, Config::default().silence_max);
    assert_eq!(removal(Backup::Well, Backup::Well), None);
    for ill in [Backup::Silent, Backup::Deaf] {
        let (after, who) = removal(Backup::Well, ill).unwrap();
        assert_eq!(who, C);
        assert!(after < grace + silence_max, "{ill:?}: {after:?}");
        // Where all others are ill it is this server that is: it waits for what they say.
        let (after, _) = removal(ill, ill).unwrap();
        assert!(after >= grace + silence_max, "{ill:?}, all: {after:?}");
    }
}

#[test]
fn a_backup_is_not_removed_before_what_the_primary_before_granted_is_over_r21() {
    let grace = Config::default().grace;
    let (after, _) = removal(Backup::Silent, Backup::Well).unwrap();
    assert!(after >= grace, "{after:?}");
    let _planted = Planted::new("grants of the primary before forgotten");
    let (after, _) = removal(Backup::Silent, Backup::Well).unwrap();
    assert!(after < grace, "the planted defect is not found: {after:?}");
}
