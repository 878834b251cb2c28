//! Lines of JSON on the admin socket, both ways.

use std::path::PathBuf;

use lockstep_core::campaign::Step;
use lockstep_core::command::FeatureState;
use lockstep_core::verdict;
use lockstep_runtime::admin::protocol::{
    AdminError, AdminReply, AdminRequest, AdminResponse, AdminVerb, Failpoint, FailpointAction, FeaturesVerb,
    GroupReport, PluginMemory, PluginReport, PluginState, PluginStatus, PluginVerb, ProcessorStatus,
    UpgradeOptions, UpgradePlan, UpgradeVerb, parse_line, to_line,
};

use crate::{Target, rounds, samples};

pub const ADMIN_REQUEST: Target = Target {
    name: "admin-request",
    reads: "an operator's command, on the admin socket",
    run: request,
    seeds: requests,
};

pub const ADMIN_RESPONSE: Target = Target {
    name: "admin-response",
    reads: "a processor's answer, in the operators' command line",
    run: response,
    seeds: || responses().iter().map(to_line).collect(),
};

fn requests() -> Vec<Vec<u8>> {
    let target = PathBuf::from("libledger_v2.so");
    let options = UpgradeOptions { own_checks: samples::plan().own_checks, ..UpgradeOptions::default() };
    let failpoint = Failpoint { point: "link.ack".into(), action: FailpointAction::Kill, after: 3 };
    let verbs = [
        AdminVerb::Status,
        AdminVerb::Features(FeaturesVerb::Enable { features: vec!["fees".into()] }),
        AdminVerb::Plugin(PluginVerb::Load { path: target.clone() }),
        AdminVerb::Upgrade(UpgradeVerb::Start { target, options }),
        AdminVerb::Upgrade(UpgradeVerb::Accept { partner_gone: true }),
        AdminVerb::Audit { count: 9 },
        AdminVerb::HoldCheckpoints { ms: 1_000 },
        AdminVerb::Failpoint(failpoint),
    ];
    let request = |verb| AdminRequest {
        application: Some("ledger".into()),
        partition: Some(1),
        verb,
        by: "operator".into(),
        why: "a test".into(),
    };
    verbs.map(|verb| to_line(&request(verb))).into()
}

fn responses() -> Vec<AdminResponse> {
    let error = AdminError { code: "LS0606".into(), message: "no".into(), help: "ask again".into() };
    let campaign = samples::status().campaign.map(Box::new);
    let report = PluginReport {
        path: "libledger_v2.so".into(),
        hash: samples::hash(2),
        bytes: 9,
        application: "ledger".into(),
        version: samples::version(2),
        warnings: vec!["it may stay".into()],
    };
    let plan = UpgradePlan {
        application: "ledger".into(),
        from: samples::version(1),
        to: report,
        comparison: verdict::compare(&samples::descriptor(), &samples::descriptor()),
        refusals: vec![error.clone()],
        units: vec![("transfer".into(), 2, 3)],
        first: samples::node("b"),
        second: samples::node("a"),
        features: vec!["fees".into()],
        raises_floor: true,
        options: UpgradeOptions::default(),
        preflight_ms: 40,
    };
    let plugin = PluginStatus {
        application: "ledger".into(),
        partition: 0,
        generation: 1,
        hash: samples::hash(1),
        version: samples::version(1),
        state: PluginState::Kept,
        reasons: vec!["a thread".into()],
        bytes: 9,
    };
    let status = samples::status();
    let features = vec![("fees".to_owned(), "transfers cost".to_owned(), FeatureState::On)];
    let (migration, formats) = (status.migration.clone(), status.formats.clone());
    let groups = vec![GroupReport { group: status, last_change: Some(("active".into(), 5)) }];
    let last = Some(Box::new(samples::campaign(Step::Done)));
    let replies = [
        AdminReply::Done,
        AdminReply::Accepted,
        AdminReply::Status(ProcessorStatus { node: samples::node("a"), pid: 7, up_ms: 9, groups }),
        AdminReply::Features { features, migration, formats },
        AdminReply::Plugins { plugins: vec![plugin], memory: PluginMemory::default() },
        AdminReply::Plan(Box::new(plan)),
        AdminReply::Upgrade { current: campaign, last },
        AdminReply::History(vec![samples::campaign(Step::FellBack)]),
        AdminReply::Audit(vec![]),
    ];
    let good = replies.into_iter().map(|reply| AdminResponse::Ok(Box::new(reply)));
    good.chain([AdminResponse::Error(error)]).collect()
}

fn request(bytes: &[u8]) -> bool {
    let Some(request) = rounds::json::<AdminRequest>(bytes) else { return false };
    assert_eq!(parse_line::<AdminRequest>(&to_line(&request)), Ok(request.clone()));
    assert_eq!(to_line(&request).iter().filter(|byte| **byte == b'\n').count(), 1, "a line is one line");
    true
}

fn response(bytes: &[u8]) -> bool {
    let Some(response) = rounds::json::<AdminResponse>(bytes) else { return false };
    if let AdminResponse::Ok(reply) = &response
        && let AdminReply::Features { migration: Some(migration), .. } = &**reply
    {
        assert!(migration.percent() <= 100);
    }
    true
}
