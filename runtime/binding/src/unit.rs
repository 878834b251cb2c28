//! A work unit's callbacks, answered by the core's context, once its witness has heard of them: those of a unit that was
//! given up fail (R23).

use lockstep_core::context::UnitContext;
use lockstep_core::ids::{GroupName, Micros};
use lockstep_plugin_api::host::UnitHost;

/// The core's context as the plugin's host.
pub(crate) struct Unit<'a, 'b>(pub(crate) &'a mut UnitContext<'b>);

impl Unit<'_, '_> {
    fn called(&self) {
        if let Some(witness) = self.0.witness() {
            witness.calls();
        }
    }
}

impl UnitHost for Unit<'_, '_> {
    fn get(&mut self, table: u32, key: &[u8]) -> Option<&[u8]> {
        self.called();
        self.0.get(table as usize, key)
    }

    fn put(&mut self, table: u32, key: &[u8], value: &[u8]) {
        self.called();
        self.0.put(table as usize, key, value);
    }

    fn delete(&mut self, table: u32, key: &[u8]) {
        self.called();
        self.0.delete(table as usize, key);
    }

    fn scan(
        &mut self,
        table: u32,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) {
        let Some(witness) = self.0.witness() else { return self.0.scan(table as usize, from, to, visit) };
        witness.calls();
        // The visitor is code of the unit's too.
        self.0.scan(table as usize, from, to, &mut |key, value| {
            let goes_on = visit(key, value);
            witness.calls();
            goes_on
        });
    }

    fn time_us(&self) -> u64 {
        self.0.time().0
    }

    fn random(&mut self) -> u64 {
        self.called();
        self.0.random()
    }

    fn features(&self) -> u64 {
        self.0.features()
    }

    fn format(&mut self, table: u32) -> u16 {
        self.called();
        self.0.format(table as usize)
    }

    fn body(&self) -> &[u8] {
        self.0.body()
    }

    fn reply(&mut self, reply: &[u8]) {
        self.called();
        self.0.reply(reply);
    }

    fn scratch(&mut self, name: &[u8]) -> Option<&[u8]> {
        self.called();
        self.0.scratch(name)
    }

    fn set_scratch(&mut self, name: &[u8], value: &[u8]) {
        self.called();
        self.0.set_scratch(name, value);
    }

    fn set_timer(&mut self, key: &str, at_us: u64, procedure: &str, parameters: &[u8]) {
        self.called();
        self.0.set_timer(key, Micros(at_us), procedure, parameters);
    }

    fn cancel_timer(&mut self, key: &str) -> bool {
        self.called();
        self.0.cancel_timer(key)
    }

    fn timer(&self, key: &str) -> Option<u64> {
        self.called();
        self.0.timer(key).map(|due| due.0)
    }

    fn send(&mut self, application: &str, partition: u16, procedure: &str, parameters: &[u8]) {
        self.called();
        let to = GroupName { application: application.into(), partition };
        self.0.send(&to, procedure, parameters);
    }

    fn log(unit: Option<&Self>, level: u8, target: &str, message: &str) {
        let Some(Unit(context)) = unit else { return crate::log::line(level, target, message) };
        crate::log::line_of_unit(context, level, target, message);
    }
}
