//! `lockstep plugin list`.

use lockstep_runtime::admin::protocol::{PluginMemory, PluginState, PluginStatus};

use super::words::{columns, count};

/// Generations, newest last, with the reasons why some were kept, and what those take.
pub fn list(plugins: &[PluginStatus], memory: &PluginMemory) -> String {
    if plugins.is_empty() {
        return "no plugin was loaded\n".into();
    }
    let mut rows = vec![
        ["application", "generation", "version", "state", "bytes", "sha-256"].map(String::from).to_vec(),
    ];
    for plugin in plugins {
        let state = match plugin.state {
            PluginState::Mapped => "mapped",
            PluginState::Kept => "kept",
            PluginState::Unloaded => "unloaded",
        };
        rows.push(vec![
            label(plugin, plugins),
            plugin.generation.to_string(),
            plugin.version.to_string(),
            state.into(),
            count(plugin.bytes),
            plugin.hash.to_string().chars().take(12).collect(),
        ]);
    }
    let mut out = columns("", "  ", &rows);
    for plugin in plugins.iter().filter(|plugin| !plugin.reasons.is_empty()) {
        out.push_str(&format!("generation {} was kept: {}\n", plugin.generation, plugin.reasons.join("; ")));
    }
    if memory.kept > 0 {
        out.push_str(&format!(
            "libraries that can't be unloaded: {}, {} bytes of {} allowed (`kept_plugins_mb`)\n",
            memory.kept,
            count(memory.kept_bytes),
            count(memory.kept_bytes_max)
        ));
    }
    if memory.hung > 0 {
        out.push_str(&format!(
            "engines that hang: {} of {} allowed (`hung_engines_max`); restart this processor while it is the standby\n",
            memory.hung, memory.hung_max
        ));
    }
    out
}

/// `ledger`, or `ledger.2` where several groups of it have loaded something.
fn label(plugin: &PluginStatus, all: &[PluginStatus]) -> String {
    let several = all.iter().any(|each| each.application == plugin.application && each.partition > 0);
    if several { format!("{}.{}", plugin.application, plugin.partition) } else { plugin.application.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_core::ids::PluginHash;

    #[test]
    fn a_generation_that_is_gone_and_one_that_stayed() {
        let plugin = |generation, version: &str, state, reasons| PluginStatus {
            application: "ledger".into(),
            partition: 0,
            generation,
            hash: PluginHash([generation as u8; 32]),
            version: version.parse().unwrap(),
            state,
            reasons,
            bytes: 1_000,
        };
        let plugins = [
            plugin(1, "1.0.0", PluginState::Unloaded, vec![]),
            plugin(2, "1.0.1", PluginState::Kept, vec!["a thread did not end".into()]),
            plugin(3, "2.0.0", PluginState::Mapped, vec![]),
        ];
        let memory = PluginMemory {
            kept: 1,
            kept_bytes: 5_000,
            kept_bytes_max: 9_000_000,
            hung: 1,
            hung_max: 2,
            keys: 3,
        };
        assert_eq!(
            list(&plugins, &memory),
            "application  generation  version  state     bytes  sha-256\n\
             ledger       1           1.0.0    unloaded  1,000  010101010101\n\
             ledger       2           1.0.1    kept      1,000  020202020202\n\
             ledger       3           2.0.0    mapped    1,000  030303030303\n\
             generation 2 was kept: a thread did not end\n\
             libraries that can't be unloaded: 1, 5,000 bytes of 9,000,000 allowed (`kept_plugins_mb`)\n\
             engines that hang: 1 of 2 allowed (`hung_engines_max`); restart this processor while it is the standby\n"
        );
    }
}
