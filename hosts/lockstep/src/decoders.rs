//! What reads files, arguments and answers, for `tests/fuzz` alone.

use std::path::Path;

use lockstep_runtime::admin::protocol::UpgradeOptions;
use lockstep_runtime::config::ConfigError;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use crate::bench::template::{Template, Values};

/// How a campaign file is to be carried out.
///
/// # Errors
/// What is wrong with it, and where.
pub fn campaign(text: &str, file: &Path) -> Result<UpgradeOptions, ConfigError> {
    Ok(crate::campaign_file::from_text(text, file)?.options)
}

/// A template of JSON, filled in with `number` for every placeholder but those of chance: as JSON, and as `postcard` where
/// its types can be told.
///
/// # Errors
/// Why it is none.
pub fn template(text: &str, number: u64) -> Result<(Vec<u8>, Option<Vec<u8>>), String> {
    let fill = |template: &Template| {
        let (mut out, mut random) = (Vec::new(), SmallRng::seed_from_u64(number));
        let (key, other, seq, connection) = (number, number, number, number);
        template.fill(&mut Values { key, other, seq, connection, random: &mut random }, &mut out);
        out
    };
    let json = Template::json(text)?;
    let postcard = Template::postcard(text).ok();
    Ok((fill(&json), postcard.as_ref().map(fill)))
}

/// How long the answer over HTTP at the start of `bytes` is; none while it is not whole.
///
/// # Errors
/// Why it is none.
pub fn answer(bytes: &[u8]) -> Result<Option<usize>, String> {
    Ok(crate::bench::http::answer(bytes)?.map(|(_, length, _)| length))
}
