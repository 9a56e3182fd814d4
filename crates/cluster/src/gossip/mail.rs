//! Messages out and in: what is carried along, and what is taken from what was carried.

use std::sync::Arc;

use super::Gossip;
use super::event::{Action, Seen};
use super::message::{Kind, Message, Report, Rumor, Status};
use super::settings::{MESSAGE_LEN_MAX, REPORT_COUNT_MAX, RUMOR_COUNT_MAX};
use crate::lines::{GOSSIP_HEAD_LEN_MAX, report_len, rumor_len};
use crate::types::{ServerId, Time};

impl Gossip {
    /// Sends a message with as much news as fits.
    pub(super) fn send(&mut self, to: ServerId, kind: Kind, actions: &mut Vec<Action>) {
        let (life, version) = (self.life, self.version());
        let rumors = Vec::new();
        let mut message = Message { kind, life, version, rumors, reports: Vec::new() };
        let mut room_len = MESSAGE_LEN_MAX - GOSSIP_HEAD_LEN_MAX;
        message.rumors = self.take_rumors(to, &mut room_len);
        if kind != Kind::News {
            message.reports = self.take_reports(to, room_len.min(self.settings.report_len_max));
        }
        let address = self.members.get(to).map_or_else(|| Arc::from(""), |m| m.address.clone());
        actions.push(Action::Send { to, address, message });
    }

    /// Returns the rumours for a message. That `to` itself is a suspect comes first, so that it can refute.
    fn take_rumors(&mut self, to: ServerId, room_len: &mut usize) -> Vec<Rumor> {
        let mut rumors = Vec::new();
        let is_doubted = self.members.get(to).is_some_and(|member| member.seen != Seen::Alive);
        if is_doubted && !mutant!("a suspect not told so") {
            let rumor = self.rumor(to);
            *room_len = room_len.saturating_sub(rumor.as_ref().map_or(0, rumor_len));
            rumors.extend(rumor);
        }
        for id in self.rumors.iter().filter(|id| *id != to) {
            let Some(rumor) = self.rumor(id) else { continue };
            let len = rumor_len(&rumor);
            if len > *room_len || rumors.len() == RUMOR_COUNT_MAX {
                break;
            }
            *room_len -= len;
            rumors.push(rumor);
        }
        let count_max = self.settings.rumor_transmissions(self.count());
        for rumor in &rumors {
            self.rumors.told(rumor.server, count_max);
        }
        rumors
    }

    fn take_reports(&mut self, to: ServerId, mut room_len: usize) -> Vec<Report> {
        let mut reports = Vec::new();
        for id in self.reports.iter().filter(|id| *id != to) {
            let Some(report) = self.report(id) else { continue };
            let len = report_len(&report);
            if len > room_len || reports.len() == REPORT_COUNT_MAX {
                break;
            }
            room_len -= len;
            reports.push(report);
        }
        let count_max = self.settings.report_transmissions(self.count());
        for report in &reports {
            self.reports.told(report.server, count_max);
        }
        reports
    }

    /// Returns what there is to say of a server now.
    fn rumor(&self, server: ServerId) -> Option<Rumor> {
        if server == self.me {
            let (version, address) = (self.version(), self.address.clone());
            let alive = Status::Alive { version, address };
            let status = if self.is_leaving { Status::Left } else { alive };
            return Some(Rumor { server, life: self.life, status });
        }
        let member = self.members.get(server)?;
        let status = match member.seen {
            Seen::Alive => {
                Status::Alive { version: member.listed_by, address: member.address.clone() }
            }
            Seen::Suspect => Status::Suspect { by: member.suspicion.as_ref()?.by.clone() },
            Seen::Dead => Status::Dead,
            Seen::Left => Status::Left,
        };
        Some(Rumor { server, life: member.life, status })
    }

    fn report(&self, server: ServerId) -> Option<Report> {
        if server == self.me {
            let (incarnation, version) = (self.life.incarnation, self.version());
            return Some(Report { server, incarnation, beat: self.beat, version, load: self.load });
        }
        let member = self.members.get(server)?;
        let incarnation = member.life.incarnation;
        let (load, _) = member.load?;
        Some(Report { server, incarnation, beat: member.beat, version: member.version, load })
    }

    pub(super) fn receive(
        &mut self,
        now: Time,
        from: ServerId,
        message: &Message,
        actions: &mut Vec<Action>,
    ) {
        if from == self.me || !self.hear(from, message, actions) {
            return;
        }
        for rumor in &message.rumors {
            self.take_rumor(now, rumor, actions);
        }
        for report in &message.reports {
            self.take_report(now, report);
        }
        self.notice_version(now, from, message.version, actions);
        match message.kind {
            Kind::Ping { number } => self.send(from, Kind::Pong { number }, actions),
            Kind::Pong { number } => self.ponged(now, from, number, actions),
            Kind::Ask { number, target } => self.asked(now, (from, number), target, actions),
            Kind::Silent { number } => self.probing.silent(from, number),
            Kind::News => {}
        }
    }

    /// Takes what a message says of its sender. Returns whether it is of the sender's newest life.
    fn hear(&mut self, from: ServerId, message: &Message, actions: &mut Vec<Action>) -> bool {
        let Some(member) = self.members.get_mut(from) else { return true };
        if message.life.incarnation < member.life.incarnation {
            return false;
        }
        if message.life > member.life {
            self.see_alive(from, message.life, actions);
        }
        if let Some(member) = self.members.get_mut(from) {
            member.version = message.version;
        }
        true
    }

    fn take_report(&mut self, now: Time, report: &Report) {
        let Some(member) = self.members.get_mut(report.server) else { return };
        let is_newer = report.beat > member.beat || mutant!("an older report taken for a newer");
        if report.incarnation != member.life.incarnation || !is_newer {
            return;
        }
        member.beat = report.beat;
        member.version = member.version.max(report.version);
        member.load = Some((report.load, now));
        self.reports.add(report.server);
    }
}
