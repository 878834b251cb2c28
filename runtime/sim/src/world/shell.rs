//! What stands in for the shell: effects are carried out on the simulated disk, network, arbiter and operating system.

use std::sync::Arc;

use lockstep_core::effect::{Alarm, Effect};
use lockstep_core::event::Answer;
use lockstep_core::ids::{LinkId, Micros, PluginHash, StoreId};
use lockstep_core::input::Input;
use lockstep_core::message::{Frame, PeerMessage};

use super::disorder::Line;
use super::{Happening, Node, OPERATOR, PROBES, World, ladder};
use crate::clients::SimClient;
use crate::ledger::{Edition, Ledger};

impl World {
    fn living(&self, store: StoreId) -> bool {
        self.nodes
            .iter()
            .filter_map(|node| node.process.as_ref())
            .any(|process| process.group.store() == store)
            || self.nodes.iter().any(|node| node.seat.hung == Some(store))
    }

    pub(super) fn carry_out(&mut self, node: usize, effects: Vec<Effect>) {
        let incarnation = self.process(node).incarnation;
        let mut sync = false;
        let changed = effects.iter().any(changes_rows);
        for effect in effects {
            match effect {
                Effect::Answer { origin, answer } => {
                    self.check_held(&answer);
                    if self.group(node).disk_failure().is_some() && matches!(answer, Answer::Ended { .. }) {
                        self.seen.add("answer without a disk");
                    }
                    self.witness.answered(origin, &answer);
                    if origin.0 & PROBES != 0 {
                        let earlier = self.answers[(origin.0 & !PROBES) as usize].replace(answer);
                        assert_eq!(earlier, None, "a request is answered once");
                        continue;
                    }
                    let (now, client) = (self.now, SimClient::of(origin));
                    self.clients[client].on_answer(now, origin, answer);
                }
                Effect::CommandDone { origin: OPERATOR, result } => self.results.push(result),
                Effect::CommandDone { origin, result } => self.words_answered.push((origin, result)),
                Effect::AskSibling { partition, word } => self.words_out.push((node, partition, word)),
                Effect::Send { link, frame } => self.carry(node, link, frame),
                Effect::CloseLink { link } => {
                    if self.link == Some(link) {
                        self.drop_link();
                    }
                }
                Effect::Append(entries) => {
                    for entry in entries.iter() {
                        let entry = Arc::new(entry);
                        self.check_entry(&entry);
                        self.nodes[node].disk.append(entry);
                    }
                    sync = true;
                }
                Effect::CutBack { to } => {
                    self.seen.add("cut back");
                    self.nodes[node].disk.cut_back(to);
                    sync = true;
                }
                Effect::Held { number } => self.nodes[node].disk.set_held(number),
                Effect::CopyBegin { store, meta } => {
                    self.seen.add("copy");
                    self.nodes[node].disk.copy_begin(store, *meta);
                }
                Effect::CopyRows(rows) => self.nodes[node].disk.copy_rows(&rows),
                Effect::CopyEnd { sessions, keyed, meta } => {
                    let disk = &mut self.nodes[node].disk;
                    disk.copy_end(sessions, keyed, *meta);
                    let store = disk.target_id();
                    let delay = Micros(self.random.within(500, 3_000));
                    if !self.nodes[node].disk.has_refused() {
                        self.input_after(node, delay, Input::CopyDurable { store });
                    }
                }
                Effect::CopyKept => self.nodes[node].disk.copy_kept(),
                Effect::CopyDropped => {
                    self.nodes[node].disk.copy_dropped();
                    sync = true;
                }
                Effect::ReadRecord => {
                    let delay = Micros(self.random.within(50, 500));
                    self.after(delay, Happening::Read { node, incarnation });
                }
                Effect::PrepareSwap { .. } => {
                    let delay = Micros(self.random.within(200, 3_000));
                    // Nothing rests on the answer.
                    if !self.random.percent(5) {
                        self.input_after(node, delay, Input::SwapPrepared);
                    }
                }
                Effect::Swap { expected, next } => {
                    let delay = Micros(self.random.within(200, 3_000));
                    self.after(delay, Happening::Swap { node, incarnation, expected, next });
                }
                Effect::Watch { store, .. } => {
                    self.process(node).watched = Some(store);
                    if !self.living(store) {
                        let delay = self.delay_on(Line::System, node, Micros(300));
                        self.input_after(node, delay, Input::PartnerDied { store });
                    }
                }
                Effect::AskLiving { store, hellos } => {
                    let living = self.living(store);
                    let delay = self.delay_on(Line::System, node, Micros(100));
                    self.input_after(node, delay, Input::Living { store, hellos, living });
                }
                Effect::LoadPlugin { hash } => self.load(node, hash),
                Effect::RunChecks { run, .. } => {
                    self.checks_run += 1;
                    if let Some(verdict) = self.checks_say.clone() {
                        let delay = Micros(self.random.within(1_000, 20_000));
                        self.input_after(node, delay, Input::Checked { run, verdict });
                    }
                }
                Effect::Retire { .. } => self.seen.add("retired"),
                Effect::Discard { .. } => self.seen.add("discarded"),
                Effect::RoleChanged { role, .. } => self.seen.add(format!("role {role}")),
                Effect::RestOnSyncs { on } => {
                    self.tell(Some(node), || format!("RESTS ON {}", if on { "SYNCS" } else { "TWO" }));
                    self.nodes[node].disk.rest_on_syncs(on);
                    sync = true;
                }
                Effect::TailSettled => {
                    self.seen.add("tail settled");
                    self.nodes[node].disk.settle_tail();
                }
                Effect::NoteRecorded { note } => self.note_recorded(node, &note),
                Effect::Tell { to, what, number } => {
                    self.check_output(number);
                    self.tell_group(node, to, what);
                }
                Effect::Alarm(alarm) => self.on_alarm(node, &alarm),
                Effect::Stop { .. } if self.nodes[node].disk.has_failed() => {
                    self.seen.add("stop for a failed disk");
                    return self.kill(node, false);
                }
                Effect::Stop { reason } => panic!("processor {node} stops: {reason}"),
            }
        }
        self.note_held();
        self.tell_refused(node);
        // Exact at any number, whatever led there (R17).
        if changed && let Err(why) = self.process(node).group.verify_derived() {
            assert!(self.settings.derived_may_break, "derived tables of {node}: {why}");
        }
        if sync {
            let sync = self.nodes[node].disk.sync_begin();
            let delay = self.sync_time(node);
            self.after(delay, Happening::Synced { node, incarnation, sync });
        }
    }

    fn on_alarm(&mut self, node: usize, alarm: &Alarm) {
        if let Alarm::Diverged { report } = alarm {
            assert!(self.settings.divergence_expected, "sound versions diverged: {report}");
        }
        self.tell(Some(node), || format!("says {alarm:?}"));
        self.seen.add(match alarm {
            Alarm::Diverged { .. } => "diverged".to_string(),
            Alarm::PartnerLost { .. } => "partner lost".into(),
            Alarm::PartnerInSync => "partner in sync".into(),
            Alarm::TookOver { half_way } => half_way_name(half_way),
            Alarm::Undone { .. } => "undone".into(),
            Alarm::UndoFailed { .. } => "undo failed".into(),
            Alarm::ArbiterUnreachable { .. } => "arbiter unreachable".into(),
            Alarm::RowsLeft { .. } => "rows left by a migration".into(),
            Alarm::DerivedBroken { .. } => "derived tables broken".into(),
            Alarm::Faulted { procedure, .. } => format!("{procedure} faulted"),
            Alarm::OnlyReads { .. } => "reads alone".into(),
            Alarm::RowsFull { .. } => "rows full".into(),
            Alarm::Died { own, .. } => format!("death note, {}", if *own { "own" } else { "heard" }),
            Alarm::OwnRefused { procedure, .. } => format!("{procedure} refused"),
            Alarm::Campaign { what, .. } => {
                format!(
                    "campaign {}",
                    what.split([':', ' ']).find(|word| word.starts_with(char::is_uppercase)).unwrap_or("")
                )
            }
            Alarm::ProtocolBroken { what } => {
                format!("link closed: {}", what.split(char::is_numeric).next().unwrap_or(""))
            }
        });
    }

    fn load(&mut self, node: usize, hash: PluginHash) {
        let delay = Micros(self.random.within(1_000, 20_000));
        let fails = self.starts_fail[node] > 0;
        self.starts_fail[node] = self.starts_fail[node].saturating_sub(1);
        let input = match Edition::of(hash) {
            _ if fails => {
                let reason = "it does not start".into();
                Input::PluginFailed { hash, reason, may_pass: true }
            }
            Some(edition) => {
                let side = &self.nodes[node];
                let ledger = Ledger::new(edition)
                    .counting(side.units_run.clone())
                    .timed(side.seat.took_us.clone())
                    .acting_on(self.deeds.clone());
                Input::PluginLoaded { application: Box::new(ledger) }
            }
            None => Input::PluginFailed { hash, reason: "there is no such file".into(), may_pass: false },
        };
        self.input_after(node, delay, input);
    }

    fn carry(&mut self, from: usize, link: LinkId, frame: Frame) {
        if self.link != Some(link) {
            return;
        }
        if let PeerMessage::ForwardAnswer { answer, .. } = &frame.message {
            self.check_held(answer);
        }
        self.tell(Some(from), || ladder::fit(&format!("{} {:?}", ["->", "<-"][from], frame.message)));
        if let PeerMessage::Begin(begin) | PeerMessage::Procedure { begin, .. } = &frame.message
            && begin.withheld
        {
            assert!(begin.event.body.is_empty(), "a withheld body does not leave the active (R18)");
        }
        if matches!(frame.message, PeerMessage::CatchUp { .. }) {
            self.seen.add("catch-up by entries");
        }
        if self.mute == Some((link, from)) {
            return;
        }
        let to = 1 - from;
        let at = self.now.plus(Micros(self.random.within(20, 120))).max(self.last_delivery[to]);
        self.last_delivery[to] = at;
        let delay = at.since(self.now);
        self.input_after(to, delay, Input::Peer { link, frame });
        if let Some(frames) = &mut self.frames_until_cut {
            if *frames == 0 {
                self.cut_and_die(from);
            } else {
                *frames -= 1;
            }
        }
    }

    fn cut_and_die(&mut self, sender: usize) {
        let dies = self.dies_at_cut;
        self.cut_here();
        if dies {
            let incarnation = self.process(sender).incarnation;
            self.after(Micros(0), Happening::Kill { node: sender, incarnation });
        }
    }

    /// Cuts behind the frame just sent: it arrives, nothing after it does.
    pub(super) fn cut_here(&mut self) {
        let Some(link) = self.link.take() else { return };
        self.frames_until_cut = None;
        self.dies_at_cut = false;
        self.seen.add("cut");
        for node in 0..2 {
            let delay = self.last_delivery[node].since(self.now).plus(Micros(1));
            self.input_after(node, delay, Input::LinkDown { link });
        }
        self.after(Micros::from_ms(5), Happening::LinkUp);
    }

    pub(super) fn link_up(&mut self) {
        let paused =
            |node: &Node| node.process.as_ref().is_none_or(|process| process.paused_until > self.now);
        if self.link.is_some() || self.nodes.iter().any(|node| node.process.is_none()) {
            return;
        }
        if self.partitioned || self.nodes.iter().any(paused) {
            return self.after(Micros::from_ms(5), Happening::LinkUp);
        }
        self.links += 1;
        let link = LinkId(self.links);
        self.link = Some(link);
        for node in 0..2 {
            let lag = Micros(10).max(self.hears_of_link_at[node].since(self.now));
            self.last_delivery[node] = self.now;
            self.input_after(node, lag, Input::LinkUp { link });
            self.last_delivery[node] = self.now.plus(lag).plus(Micros(1));
        }
    }

    pub(super) fn drop_link(&mut self) {
        let Some(link) = self.link.take() else { return };
        self.frames_until_cut = None;
        self.dies_at_cut = false;
        // What is in flight may still arrive: a random part of it, in order.
        for node in 0..2 {
            let until = self.now.plus(Micros(self.random.within(0, 300)));
            let lost: Vec<_> = self
                .queue
                .iter()
                .filter(|((at, _), happening)| {
                    *at > until
                        && matches!(happening, Happening::Input { node: to, input: Input::Peer { link: on, .. }, .. }
                            if *to == node && *on == link)
                })
                .map(|(key, _)| *key)
                .collect();
            lost.iter().for_each(|key| drop(self.queue.remove(key)));
            let delay =
                until.since(self.now).plus(Micros(1)).max(self.hears_of_link_at[node].since(self.now));
            self.input_after(node, delay, Input::LinkDown { link });
        }
        let again = Micros(self.random.within(500, 20_000));
        self.after(again, Happening::LinkUp);
    }
}

/// Whether derived tables are looked at after this.
fn changes_rows(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::CutBack { .. } | Effect::Retire { .. } | Effect::CopyKept | Effect::RoleChanged { .. }
    )
}

/// `HalfWay { procedure: "transfer", step_ups: 2, end: Completed }, number 7` is `half-way transfer 2 Completed`.
fn half_way_name(text: &str) -> String {
    let words = text.split(", number").next().unwrap_or("").split([' ', ',', '"', '{', '}']);
    let mut told = words.filter(|word| !word.is_empty() && !word.ends_with(':') && *word != "HalfWay");
    let (procedure, step_ups, end) = (told.next(), told.next(), told.next());
    match (procedure, step_ups, end) {
        // Begun elsewhere in another version, and run from the start in this one.
        (Some(procedure), Some(step_ups), Some("RunAgain")) if step_ups != "0" => {
            format!("half-way shipped {procedure} {step_ups} RunAgain")
        }
        (Some(procedure), Some(step_ups), Some(end)) => format!("half-way {procedure} {step_ups} {end}"),
        _ => format!("half-way {text}"),
    }
}
