//! Operators' commands, and the group's status.

use super::evaluation::{judge, rollback_after_ms};
use super::feed::Feed;
use super::follow::Follow;
use super::gap;
use super::outputs::{Asker, Owed};
use super::{Group, LATENCY_WINDOW};
use crate::campaign::{CampaignRecord, Step};
use crate::command::{
    CampaignStatus, Command, CommandError, CommandReply, CommandResult, GroupStatus, MemberStatus, Role,
};
use crate::entry::Control;
use crate::ids::{Epoch, Micros, Number, Term};
use crate::message::{PeerMessage, PlainBody};

/// Commands that wait for a number, at most.
const COMMANDS_MAX: usize = 64;
/// A status shows so many death notes, the latest ones.
const NOTES_SHOWN: usize = 8;

impl Group {
    pub(super) fn on_command(&mut self, asker: Asker, command: Command) {
        match command {
            Command::Status => {
                let status = Box::new(self.status(self.now));
                self.command_done(asker, Ok(CommandReply::Status(status)));
            }
            Command::Force => {
                let result = self.on_force();
                self.command_done(asker, result);
            }
            command if self.keeps_numbers() && command.takes_a_number() => {
                self.command_behind(asker, command)
            }
            command if self.role == Role::Active => self.carry_out(asker, command),
            command => match asker {
                // One that is out of service was told so by the active: what this processor's other groups say to theirs
                // goes by way of it (R1).
                Asker::Local(origin)
                    if self.partner_serves() || (self.role == Role::Isolated && self.partner.is_some()) =>
                {
                    let ticket = self.ticket();
                    self.forwarded_commands.insert(ticket, origin);
                    self.send(PeerMessage::ForwardCommand { ticket, command: Box::new(command) });
                }
                asker => self.command_done(asker, Err(CommandError::NoActive)),
            },
        }
    }

    /// Whether the next number is not to be had now: a procedure that acts on the world has it (R19), or a planned switchover
    /// waits until everything has left (R5).
    fn keeps_numbers(&self) -> bool {
        self.is_acting() || (self.role == Role::Active && self.is_draining())
    }

    /// Keeps a command that would take a number until there is one again.
    fn command_behind(&mut self, asker: Asker, command: Command) {
        if self.commands_behind.len() < COMMANDS_MAX {
            return self.commands_behind.push((asker, command));
        }
        let why = "too many commands wait for a switchover, or for a procedure that acts on the world".into();
        self.command_done(asker, Err(CommandError::NotNow(why)));
    }

    /// Takes the commands that were kept, here or there.
    pub(super) fn take_commands_behind(&mut self) {
        for (asker, command) in std::mem::take(&mut self.commands_behind) {
            self.on_command(asker, command);
        }
    }

    pub(super) fn on_forward_result(&mut self, ticket: u64, result: CommandResult) {
        if let Some(origin) = self.forwarded_commands.remove(&ticket) {
            self.command_done(Asker::Local(origin), result);
        }
    }

    fn on_force(&mut self) -> CommandResult {
        if self.role == Role::Active {
            return Err(CommandError::NotNow(
                "this processor is active already; nothing is to be forced".into(),
            ));
        }
        if self.partner.is_some() {
            let why = "the partner can be heard; stop it first, or let it take over".into();
            return Err(CommandError::NotNow(why));
        }
        self.force();
        Ok(CommandReply::Accepted)
    }

    fn carry_out(&mut self, asker: Asker, command: Command) {
        // A standby that is brought back is what ends it.
        let goes_on = matches!(command, Command::ActiveStatus | Command::Integrate);
        if let Some(reason) = self.only_reads().filter(|_| !goes_on) {
            return self.command_done(asker, Err(CommandError::NotNow(reason)));
        }
        let campaign = self.state.meta.campaign.as_ref().map(|campaign| campaign.step.figure());
        let rests_on_stream = command.takes_a_number();
        let result = match command {
            Command::SwitchOver => match self.may_switch_over(campaign) {
                Ok(()) => {
                    self.begin_hand_over(asker);
                    // Answered when it is recorded, or given up.
                    return;
                }
                Err(error) => Err(error),
            },
            Command::Isolate if campaign.is_some() => {
                Err(CommandError::CampaignUnderWay(campaign.unwrap_or(0)))
            }
            Command::Isolate => {
                self.isolate_partner();
                Ok(CommandReply::Accepted)
            }
            Command::Integrate => {
                // Asked for by hand: a version that diverged gets another chance (R15).
                let diverged = !std::mem::take(&mut self.divergences).is_empty();
                if self.partner_out {
                    self.integrate_partner();
                } else if diverged {
                    self.feed_anew();
                }
                Ok(CommandReply::Accepted)
            }
            Command::Load { .. } if campaign.is_some() => {
                Err(CommandError::CampaignUnderWay(campaign.unwrap_or(0)))
            }
            Command::Load { hash } => match &self.partner {
                Some(_) => {
                    self.send_order(hash);
                    Ok(CommandReply::Accepted)
                }
                None => Err(CommandError::NotInSync("there is no link to it".into())),
            },
            Command::FollowCampaign(word) => self.on_campaign_word(*word),
            Command::ActiveStatus => Ok(CommandReply::Status(Box::new(self.status(self.now)))),
            Command::EnableFeatures { .. } if campaign.is_some() => {
                // Its last step enables; on its way back a floor above the old version would leave nowhere to go (R31).
                Err(CommandError::CampaignUnderWay(campaign.unwrap_or(0)))
            }
            Command::EnableFeatures { features } => self.enable(&features),
            Command::DisableFeature { feature } => self.disable(feature),
            command => self.on_campaign_command(command),
        };
        if rests_on_stream {
            // What it says may be so by something that is not held yet: its own entry, or one before (R10).
            self.output_as_read(asker, Owed::Result(Box::new(result)));
        } else {
            self.command_done(asker, result);
        }
    }

    fn may_switch_over(&self, campaign: Option<u16>) -> Result<(), CommandError> {
        if let Some(step) = campaign {
            return Err(CommandError::CampaignUnderWay(step));
        }
        if self.hand_over.is_some() {
            return Err(CommandError::NotNow("a switchover is under way already".into()));
        }
        self.recorded_partner()
            .map(|_| ())
            .ok_or_else(|| CommandError::NotInSync("it is not in the record".into()))
    }

    /// Takes the partner out of service; done when the record has dropped it.
    pub(super) fn isolate_partner(&mut self) {
        self.partner_out = true;
        let recorded = self.arbiter.record.as_ref().is_some_and(|record| record.in_sync.len() > 1);
        if !recorded {
            self.send(PeerMessage::OutOfService { out: true });
            if let Some(partner) = &mut self.partner {
                partner.feed = Feed::Nothing;
            }
        }
    }

    pub(super) fn integrate_partner(&mut self) {
        let told = self.partner.as_ref().is_some_and(|partner| matches!(partner.feed, Feed::Nothing));
        if std::mem::take(&mut self.partner_out) && told {
            // Otherwise the record still has it, or it is on its way out of the record; it was told nothing.
            self.send(PeerMessage::OutOfService { out: false });
        }
    }

    pub(super) fn disable(&mut self, feature: String) -> CommandResult {
        if !self.state.meta.features.contains(&feature) {
            return Err(CommandError::NotNow(format!("feature `{feature}` is not on")));
        }
        self.plain(PlainBody::Control(Control::Disable { feature }));
        Ok(CommandReply::Done)
    }

    /// Answers a second in the windows over which latencies are measured.
    fn events_per_s(&self, now: Micros) -> u64 {
        let before = self.latencies_before.total();
        let window = if before > 0 { LATENCY_WINDOW } else { Micros(0) };
        let us = now.since(self.latencies_since).plus(window).0.max(1_000_000);
        (before + self.latencies.total()) * 1_000_000 / us
    }

    /// The campaign, with the figures of all groups that this one has heard of.
    fn campaign_status(&self, record: &CampaignRecord, now: Micros) -> CampaignStatus {
        let others = self.reports_at(record.revision);
        let view = self.campaign_view(record, &others, now);
        let evaluates = record.step == Step::Evaluate;
        let judgement = evaluates.then(|| judge(&view));
        let rollback_in_ms = judgement
            .as_ref()
            .filter(|_| !record.accepted)
            .map(|judgement| rollback_after_ms(record, judgement).saturating_sub(view.in_step.0 / 1_000));
        CampaignStatus {
            record: record.clone(),
            in_step: view.in_step,
            events: view.events,
            faults: view.faults,
            divergences: view.divergences,
            p99_us: view.p99_us,
            longest_gap: gap::longest(record, &self.gap, &others),
            own_checks: view.own_checks.cloned(),
            judgement,
            rollback_in_ms,
        }
    }

    /// How the group is.
    #[must_use]
    pub fn status(&self, now: Micros) -> GroupStatus {
        let record = self.arbiter.record.as_ref();
        let meta = &self.state.meta;
        let descriptor = self.application.descriptor();
        let recorded = |store| record.is_some_and(|record| record.is_recorded(store));
        let mut members = vec![MemberStatus {
            node: self.config.node.clone(),
            role: self.role,
            version: Some(descriptor.version),
            hash: Some(descriptor.hash),
            last: meta.last,
            in_sync: recorded(self.store),
            connected: true,
        }];
        let mut shipped = std::collections::BTreeSet::new();
        if let Some((partner, hello)) =
            self.partner.as_ref().and_then(|p| p.hello.as_ref().map(|hello| (p, hello)))
        {
            let application = partner.application.as_ref();
            let role = match (&partner.feed, &self.follow) {
                _ if self.role == Role::Active && self.partner_out => Role::Isolated,
                (Feed::InStep, _) if recorded(hello.store) => Role::Standby,
                (_, Follow::InStep | Follow::Entries | Follow::Copying(_) | Follow::CopyEnding(_)) => {
                    Role::Active
                }
                (_, Follow::Nothing | Follow::Diverged) => hello.role,
            };
            let role = if self.role == Role::Active && role == Role::Active { Role::Starting } else { role };
            members.push(MemberStatus {
                node: hello.node.clone(),
                role,
                version: application.map(|application| application.version),
                hash: application.map(|application| application.hash),
                last: if self.role == Role::Active { partner.acked } else { self.held.max(hello.last) },
                in_sync: recorded(hello.store),
                connected: true,
            });
            shipped = descriptor
                .procedures
                .iter()
                .zip(&partner.shipped)
                .filter(|(procedure, shipped)| **shipped && !procedure.reads_only)
                .map(|(procedure, _)| procedure.name.clone())
                .collect();
        } else if let Some(other) =
            record.and_then(|r| r.in_sync.iter().find(|member| member.store != self.store))
        {
            members.push(MemberStatus {
                node: other.node.clone(),
                role: if record.is_some_and(|r| r.active.store == other.store) {
                    Role::Active
                } else {
                    Role::Standby
                },
                version: None,
                hash: None,
                last: Number(0),
                in_sync: true,
                connected: false,
            });
        }
        let features = descriptor
            .features
            .iter()
            .map(|feature| {
                let state = meta.feature_state(&feature.name);
                (feature.name.clone(), feature.description.clone(), state)
            })
            .collect();
        let latencies = if self.latencies.total() > 100 { &self.latencies } else { &self.latencies_before };
        GroupStatus {
            application: self.config.application.clone(),
            partition: self.config.partition,
            partitions: self.config.partitions,
            epoch: record.map_or(Epoch(0), |record| record.epoch),
            term: record.map_or(Term(0), |record| record.term),
            members,
            held: self.held,
            features,
            migration: self.migration_status(),
            formats: meta.table_formats(),
            floor: meta.floor,
            shipped,
            campaign: meta.campaign.as_ref().map(|record| self.campaign_status(record, now)),
            campaigns: meta.campaigns.clone(),
            counts: self.counts,
            half_way: self.half_way.iter().map(|(half_way, count)| (half_way.clone(), *count)).collect(),
            latency_us: (latencies.percentile(50.0), latencies.percentile(99.0)),
            events_per_s: self.events_per_s(now),
            table_bytes: self.rows_bytes() as u64,
            table_bytes_max: self.config.rows_bytes_max as u64,
            notes: meta.notes.latest(NOTES_SHOWN),
        }
    }
}
