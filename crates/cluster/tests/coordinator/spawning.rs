//! When processes are started and ended: what is seen and what became of them, and what is ordered then.

use cluster::coordinator::spawn::{
    BACK_OFF_MAX, BACK_OFF_MIN, END_MAX, News, Order, Seen, Settings, Spawner, View,
};
use cluster::coordinator::{Answer, Command};
use cluster::{Standing, Time};
use std::time::Duration;

use crate::play::{Play, id, ms};

const REGISTER_MAX: Duration = Duration::from_secs(60);
const IDLE_MAX: Duration = Duration::from_secs(600);

/// A machine, its time, and what the coordinator knows.
struct Table {
    spawner: Spawner,
    now: Time,
    view: View,
}

impl Table {
    fn new(count_max: u16) -> Self {
        let settings = Settings { count_max, register_max: REGISTER_MAX, idle_max: IDLE_MAX };
        let view = View { is_lacking: true, is_growing: true, ..View::default() };
        Self { spawner: Spawner::new(settings), now: Time(1), view }
    }

    fn look(&mut self, news: Vec<News>) -> Vec<Order> {
        self.spawner.step(self.now, news, &self.view)
    }

    fn after(&mut self, wait: Duration) -> Vec<Order> {
        self.now = self.now + wait;
        self.look(Vec::new())
    }

    /// Has a process be started that registers as the server of its number, and stands so.
    fn start(&mut self, number: u16, standing: Standing) {
        self.view.is_lacking = true;
        assert_eq!(self.look(Vec::new()), [Order::Start(number)]);
        let (pid, address) = (u32::from(number), number.to_string());
        let news = vec![News::Started { number, pid }, News::Listening { number, address }];
        assert_eq!(self.look(news), []);
        self.view.servers.push(seen(number, standing));
        self.view.is_lacking = false;
        assert_eq!(self.after(ms(200)), [remember(number)]);
        if standing == Standing::Serving {
            assert_eq!(self.after(ms(200)), []);
        }
    }

    fn set(&mut self, number: u16, standing: Standing, is_empty: bool) {
        let server = &mut self.view.servers[usize::from(number) - 1];
        (server.standing, server.is_empty) = (standing, is_empty);
    }

    fn states(&self) -> Vec<String> {
        let processes = self.spawner.status(self.now).processes;
        processes.into_iter().map(|process| process.state).collect()
    }
}

fn seen(number: u16, standing: Standing) -> Seen {
    let is_empty = standing != Standing::Serving;
    let (id, address) = (id(number.into()), number.to_string());
    Seen { id, address, standing, is_seen: true, is_empty, has_failed: false }
}

fn ended(number: u16) -> Vec<News> {
    vec![News::Ended { number, how: "exit status: 1".into() }]
}

fn remember(number: u16) -> Order {
    Order::Remember { number, server: id(number.into()) }
}

fn is_warning(orders: &[Order]) -> bool {
    matches!(orders, [Order::Warn(_)])
}

#[test]
pub fn one_is_started_after_the_other_while_servers_are_wanted_and_no_more_than_may_be() {
    let mut table = Table::new(2);
    table.view.is_lacking = false;
    assert_eq!(table.look(Vec::new()), []);
    table.view.is_lacking = true;
    assert_eq!(table.look(Vec::new()), [Order::Start(1)]);
    assert_eq!(table.after(ms(200)), [], "it is on its way");
    assert_eq!(table.look(vec![News::Started { number: 1, pid: 7 }]), []);
    let address = "1".to_owned();
    assert_eq!(table.look(vec![News::Listening { number: 1, address }]), []);
    table.view.servers.push(seen(1, Standing::Standby));
    assert_eq!(table.after(ms(200)), [remember(1)], "it waits to be asked onto the ring");
    assert_eq!(table.after(ms(200)), []);
    assert_eq!(table.spawner.servers(), [id(1)].into());
    table.set(1, Standing::Serving, false);
    table.start(2, Standing::Serving);
    table.view.is_lacking = true;
    assert_eq!(table.after(IDLE_MAX), [], "there may be two");
    assert_eq!(table.states(), ["working", "working"]);
}

#[test]
pub fn what_is_drained_and_not_wanted_for_long_enough_is_ended_and_its_number_used_again() {
    let mut table = Table::new(3);
    table.start(1, Standing::Serving);
    (table.view.is_lacking, table.view.is_growing) = (false, false);
    table.set(1, Standing::Standby, false);
    assert_eq!(table.after(IDLE_MAX * 2), [], "it hands its slots over");
    table.set(1, Standing::Standby, true);
    assert_eq!(table.after(ms(200)), []);
    assert_eq!(table.states(), ["idle"]);
    assert_eq!(table.after(IDLE_MAX - ms(1)), []);
    table.view.is_growing = true;
    assert_eq!(table.after(ms(1)), [], "it is wanted again");
    table.view.is_growing = false;
    assert_eq!(table.after(ms(1)), [], "and not: it counts anew");
    assert_eq!(table.after(IDLE_MAX - ms(1)), []);
    let end = Order::End { number: 1, server: Some(id(1)) };
    assert_eq!(table.after(ms(1)), std::slice::from_ref(&end).to_vec());
    assert_eq!(
        table.look(vec![News::Kept { number: 1 }]),
        [],
        "it was asked onto the ring just now"
    );
    assert_eq!(table.after(IDLE_MAX - ms(1)), []);
    assert_eq!(table.after(ms(1)), [end]);
    assert_eq!(table.states(), ["ending"]);
    assert_eq!(table.look(ended(1)), [], "as it was told");
    table.view = View { is_lacking: true, is_growing: true, servers: Vec::new() };
    assert_eq!(table.look(Vec::new()), [Order::Start(1)]);
}

#[test]
fn what_has_left_or_has_a_failed_disk_is_ended_at_once() {
    let end = [Order::End { number: 1, server: Some(id(1)) }];
    for has_failed in [true, false] {
        let mut table = Table::new(1);
        table.start(1, Standing::Serving);
        table.set(1, if has_failed { Standing::Standby } else { Standing::Leaving }, false);
        table.view.servers[0].has_failed = has_failed;
        assert_eq!(table.after(IDLE_MAX), [], "it holds something");
        table.view.servers[0].is_empty = true;
        assert_eq!(table.after(ms(1)), end);
    }
}

#[test]
pub fn after_each_failure_the_next_start_waits_twice_as_long_until_one_is_on_the_ring() {
    let mut table = Table::new(1);
    let mut wait = BACK_OFF_MIN;
    for _ in 0..12 {
        assert_eq!(table.look(Vec::new()), [Order::Start(1)]);
        let refused = News::Refused { number: 1, why: "no such program".into() };
        assert!(is_warning(&table.look(vec![refused])));
        let status = table.spawner.status(table.now);
        assert_eq!(status.failure.unwrap(), "process 1: no such program");
        assert_eq!(u128::from(status.retry_ms.unwrap()), wait.as_millis());
        assert_eq!(table.after(wait - ms(1)), []);
        table.now = table.now + ms(1);
        wait = (wait * 2).min(BACK_OFF_MAX);
    }
    table.start(1, Standing::Serving);
    assert_eq!(table.spawner.status(table.now).failure, None);
    assert!(is_warning(&table.look(ended(1))), "it was not told to end");
    table.view.is_lacking = true;
    assert_eq!(table.after(BACK_OFF_MIN - ms(1)), []);
    assert_eq!(table.after(ms(1)), [Order::Start(1)]);
}

#[test]
fn a_number_that_failed_is_passed_over_while_there_are_others() {
    let mut table = Table::new(3);
    assert_eq!(table.look(Vec::new()), [Order::Start(1)]);
    table.look(vec![News::Started { number: 1, pid: 7 }]);
    assert!(is_warning(&table.look(ended(1))));
    assert_eq!(table.after(BACK_OFF_MIN), [Order::Start(2)]);
    table.look(vec![News::Started { number: 2, pid: 8 }]);
    assert!(is_warning(&table.look(ended(2))));
    assert_eq!(table.after(BACK_OFF_MIN * 2), [Order::Start(1)]);
}

#[test]
fn what_does_not_register_in_time_is_told_to_end_and_killed_if_it_does_not() {
    let mut table = Table::new(2);
    assert_eq!(table.look(Vec::new()), [Order::Start(1)]);
    assert_eq!(table.look(vec![News::Started { number: 1, pid: 7 }]), []);
    assert_eq!(table.after(REGISTER_MAX - ms(1)), []);
    let orders = table.after(ms(1));
    assert_eq!(orders[0], Order::End { number: 1, server: None });
    assert!(is_warning(&orders[1..]), "{orders:?}");
    table.view.is_lacking = false;
    assert_eq!(table.after(END_MAX - ms(1)), []);
    assert_eq!(table.after(ms(1)), [Order::Kill(1)]);
    assert_eq!(table.after(END_MAX * 2), [], "once");
    assert_eq!(table.look(ended(1)), [], "as it was told");
}

#[test]
fn what_came_back_to_the_ring_while_it_was_to_end_is_not_killed() {
    let mut table = Table::new(1);
    table.start(1, Standing::Leaving);
    table.now = table.now + ms(1);
    assert!(matches!(table.look(Vec::new())[..], [Order::End { .. }]));
    table.set(1, Standing::Serving, false);
    assert_eq!(table.after(END_MAX * 2), []);
}

#[test]
fn what_an_earlier_life_started_is_known_again_by_its_address_or_let_alone() {
    let mut table = Table::new(2);
    table.view.is_lacking = false;
    table.view.is_growing = false;
    let found = |number| News::Found { number, pid: 7 };
    assert_eq!(table.look(vec![found(1), found(2)]), []);
    assert_eq!(table.after(REGISTER_MAX * 9), [], "it may be on the ring");
    assert_eq!(table.states(), ["found", "found"]);
    table.view.servers.push(seen(1, Standing::Standby));
    table.look(vec![News::Listening { number: 1, address: "1".into() }]);
    assert_eq!(table.after(ms(1)), []);
    assert_eq!(table.after(IDLE_MAX), [Order::End { number: 1, server: Some(id(1)) }]);
}

#[test]
fn only_a_standby_that_holds_nothing_is_let_go_and_nobody_puts_it_on_the_ring_then() {
    let mut play = Play::new(cluster::coordinator::Settings::default());
    play.start_as(id(1), true, false);
    play.start_as(id(2), true, true);
    play.settle();
    assert_eq!(play.command(Command::Retire(id(9))), Answer::NoServer);
    assert_eq!(play.command(Command::Retire(id(1))), Answer::NotNow, "it is on the ring");
    assert_eq!(play.command(Command::Retire(id(2))), Answer::Done);
    assert_eq!(play.command(Command::Retire(id(2))), Answer::Already);
    assert_eq!(play.map().servers()[&id(2)].standing, Standing::Leaving);
    assert!(play.log.last().unwrap().why.starts_with("elastic: retire"), "{:?}", play.log.last());
    let view = play.machine.spawn_view(play.now);
    let is_empty: Vec<_> = view.servers.iter().map(|seen| seen.is_empty).collect();
    assert_eq!(is_empty, [false, true]);
}

#[test]
pub fn what_is_not_there_and_holds_slots_is_started_again_wanted_or_not() {
    let mut table = Table::new(1);
    (table.view.is_lacking, table.view.is_growing) = (false, false);
    table.view.servers = [1, 2, 3].map(|number| seen(number, Standing::Serving)).to_vec();
    table.set(3, Standing::Away, true);
    let known = [1, 2, 3].map(|number| News::Known { number, server: id(number.into()) });
    assert_eq!(table.look(known.to_vec()), [], "all are seen");
    table.view.servers.iter_mut().for_each(|server| server.is_seen = false);
    assert_eq!(table.look(Vec::new()), [Order::Start(1)], "it may have the only copy");
    assert_eq!(table.look(Vec::new()), [Order::Start(2)], "how many there may be is no question");
    assert_eq!(table.look(Vec::new()), [], "the third holds nothing");
    let refused = News::Refused { number: 1, why: "its folder is in use".into() };
    assert!(is_warning(&table.look(vec![refused])));
    assert_eq!(table.after(BACK_OFF_MIN - ms(1)), []);
    assert_eq!(table.after(ms(1)), [Order::Start(1)]);
}
