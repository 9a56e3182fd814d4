//! What operators ask for, said once and twice.

use cluster::Standing;
use cluster::coordinator::elastic::By;
use cluster::coordinator::{Answer, Command};

use crate::play::{Play, id, ms};

#[test]
fn a_standby_server_is_asked_onto_the_ring_and_off_it() {
    let mut play = Play::with_servers(&[1]);
    play.start_as(id(2), true, true);
    for (command, expected, standing) in [
        (Command::Join(id(2)), Answer::Done, Standing::Serving),
        (Command::Join(id(2)), Answer::Already, Standing::Serving),
        (Command::Leave(id(2)), Answer::Done, Standing::Leaving),
        (Command::Leave(id(2)), Answer::Already, Standing::Leaving),
        (Command::Leave(id(1)), Answer::NotNow, Standing::Leaving),
        (Command::Join(id(2)), Answer::Done, Standing::Serving),
        (Command::Join(id(9)), Answer::NoServer, Standing::Serving),
        (Command::Leave(id(9)), Answer::NoServer, Standing::Serving),
        (Command::ForceComplete(id(9)), Answer::NoServer, Standing::Serving),
        (Command::ForceComplete(id(1)), Answer::Already, Standing::Serving),
    ] {
        assert_eq!(play.command(command), expected, "{command:?}");
        assert_eq!(play.map().servers()[&id(2)].standing, standing, "{command:?}");
    }
    play.settle();
    assert_eq!(play.machine.moves().count(), 0);
    assert_eq!(play.command(Command::Rebalance(By::Bytes)), Answer::Already);
}

#[test]
fn a_server_that_is_not_there_is_not_put_on_the_ring() {
    let mut play = Play::with_servers(&[1]);
    play.start_as(id(2), true, true);
    play.cut(id(2));
    assert_eq!(play.command(Command::Join(id(2))), Answer::NotNow);
    assert_eq!(play.command(Command::Leave(id(2))), Answer::Done);
    play.start_as(id(2), true, true);
    assert!(!play.map().ring().contains(id(2)), "it waits to be asked");
}

#[test]
fn a_server_that_left_ends_and_joins_when_it_is_started_again() {
    let mut play = Play::with_servers(&[1, 2, 3, 4]);
    assert_eq!(play.command(Command::Leave(id(4))), Answer::Done);
    play.start(id(4));
    let standing = |play: &Play| play.map().servers()[&id(4)].standing;
    assert_eq!(standing(&play), Standing::Leaving, "it holds slots that others must take first");
    play.settle();
    assert!(play.map().slots().all(|(_, slot)| !slot.is_holder(id(4))));
    play.register(id(4));
    assert_eq!(standing(&play), Standing::Leaving, "the same life has only lost its connection");
    play.start(id(4));
    assert_eq!(standing(&play), Standing::Serving);
}

#[test]
fn an_operator_may_take_the_last_copy_for_complete() {
    let mut play = Play::with_servers(&[1, 2]);
    play.ask(id(2), vec![cluster::Change::Leave]);
    play.settle();
    play.start_as(id(1), false, false);
    assert_eq!(play.machine.moves().refused.len(), 16);
    assert_eq!(play.command(Command::ForceComplete(id(2))), Answer::Already, "it held nothing");
    play.cut(id(1));
    assert_eq!(play.command(Command::ForceComplete(id(1))), Answer::NotNow);
    play.register(id(1));
    assert_eq!(play.command(Command::ForceComplete(id(1))), Answer::Done);
    assert_eq!(play.command(Command::ForceComplete(id(1))), Answer::Already);
    play.wait(ms(100));
    assert_eq!(play.machine.moves().count(), 0);
    for (_, slot) in play.map().slots() {
        assert_eq!((slot.primary_id(), slot.term, slot.former.len()), (Some(id(1)), slot.epoch, 0));
    }
}
