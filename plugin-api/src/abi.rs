//! The boundary between a host and a plugin: the root module, its entries and the host's callbacks.
//!
//! For hosts: no author of a plugin touches this module.
//!
//! Everything here is plain data and plain `extern "C"` functions. Bytes are lent, never given: whoever wants to keep
//! them copies them. Nothing unwinds across the boundary: the plugin's entries and the host's callbacks each catch
//! their panics. No plugin-owned value but a run's handle crosses it, and the host ends every run before it unloads.
//!
//! Deliberately absent: `RVec`, `RString`, `RBox` and trait objects, whose vtables would live in the plugin; any way
//! to load a library (the loader's task).
//!
//! [`ApiVersion`] is exported as a symbol of its own ([`API_VERSION_SYMBOL`]) and is checked before the layout:
//! `abi_stable` accepts a plugin that was built against a newer host and would panic at the missing entry.
//!
//! *Additions.* Within a major version [`PluginModule`] and [`HostCalls`] grow at their end, behind what 1.0 has, and so
//! does the series of `postcard` values that `describe` gives, of which hosts read those that they know. Everything else stays
//! as it is. Each addition raises [`API_VERSION`]'s minor and says which it came with. A host looks whether an older plugin has an
//! entry; a plugin needs not look for callbacks, since no older host takes it. 1.0 stands in `plugin-api/frozen`.

use std::ffi::c_void;

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::sabi_types::VersionStrings;

/// The version of this contract.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, StableAbi)]
pub struct ApiVersion {
    /// Always [`API_MAGIC`].
    pub magic: u64,
    /// Grows with changes that older plugins don't survive: a host takes plugins of its own major alone.
    pub major: u32,
    /// Grows with additions: a host takes plugins of its own minor or a lower one.
    pub minor: u32,
}

impl ApiVersion {
    /// Whether a host with this version can run a plugin that was built with `plugin`'s.
    #[must_use]
    pub const fn runs(self, plugin: ApiVersion) -> bool {
        plugin.magic == API_MAGIC && plugin.major == self.major && plugin.minor <= self.minor
    }
}

/// Marks an [`ApiVersion`] in a file: `LOCKSTEP`.
pub const API_MAGIC: u64 = u64::from_be_bytes(*b"LOCKSTEP");
/// The contract's version that this crate speaks.
pub const API_VERSION: ApiVersion = ApiVersion { magic: API_MAGIC, major: 1, minor: 2 };
/// The name of the symbol (an [`ApiVersion`]) that every plugin exports beside `abi_stable`'s header.
pub const API_VERSION_SYMBOL: &str = "LOCKSTEP_PLUGIN_API";
/// The same with a trailing NUL, as `dlsym` wants it.
pub const API_VERSION_SYMBOL_WITH_NUL: &str = "LOCKSTEP_PLUGIN_API\0";

/// What an entry or a callback returned; one of the constants of [`status`].
pub type Status = u32;

/// The values of [`Status`].
pub mod status {
    use super::Status;

    /// It went well.
    pub const OK: Status = 0;
    /// A row, value or step that was asked for is not there.
    pub const ABSENT: Status = 1;
    /// The application's own "no"; the sink got its code, a NUL byte, and its message.
    pub const REFUSED: Status = 2;
    /// The author's code panicked; the sink got message and location.
    pub const PANICKED: Status = 3;
    /// The author's code returned an error; the sink got it.
    pub const FAILED: Status = 4;
    /// The plugin broke the contract; the sink got how.
    pub const CONTRACT: Status = 5;
    /// The control parameters can't be decoded; the sink got the field's path and the reason.
    pub const MALFORMED: Status = 6;
    /// A callback was called while another one of the same context was under way (from a scan's visitor).
    pub const BUSY: Status = 7;
    /// The host's own code panicked in a callback; the entry returns at once, and the host goes on with its panic.
    pub const HOST_PANICKED: Status = 8;
}

/// How control parameters are encoded and the reply is to be: the values of `encoding` below.
pub mod encoding {
    /// `postcard`.
    pub const POSTCARD: u8 = 0;
    /// JSON.
    pub const JSON: u8 = 1;
}

/// Bytes lent for the time of a call, or for as long as the function that gives them says.
#[repr(C)]
#[derive(Clone, Copy, Debug, StableAbi)]
pub struct Bytes {
    /// The first byte; dangling but not null when there are none, null when the bytes are absent.
    pub start: *const u8,
    /// How many.
    pub len: usize,
}

impl Bytes {
    /// No bytes at all, as opposed to an empty series of them.
    pub const ABSENT: Bytes = Bytes { start: std::ptr::null(), len: 0 };

    /// Lends `bytes`.
    #[must_use]
    pub const fn of(bytes: &[u8]) -> Self {
        Bytes { start: bytes.as_ptr(), len: bytes.len() }
    }

    /// The bytes; `None` when absent.
    ///
    /// # Safety
    /// The bytes must be valid for `'a`.
    #[must_use]
    pub const unsafe fn get<'a>(self) -> Option<&'a [u8]> {
        if self.start.is_null() {
            return None;
        }
        // SAFETY: not null; the caller vouches for the rest.
        Some(unsafe { std::slice::from_raw_parts(self.start, self.len) })
    }

    /// The bytes; empty when absent.
    ///
    /// # Safety
    /// The bytes must be valid for `'a`.
    #[must_use]
    pub const unsafe fn or_empty<'a>(self) -> &'a [u8] {
        // SAFETY: the caller vouches for it.
        match unsafe { self.get() } {
            Some(bytes) => bytes,
            None => &[],
        }
    }
}

/// Where a plugin's entry puts bytes for the host: a description, an error's text.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Sink {
    /// Given back to `put`.
    pub this: *mut c_void,
    /// Appends the bytes. Never unwinds.
    pub put: unsafe extern "C" fn(this: *mut c_void, bytes: Bytes),
}

/// What the host offers a plugin for as long as it is loaded, outside of work units.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct HostServices {
    /// Writes a line to the host's log. `level`: 1 error, 2 warn, 3 info, 4 debug, 5 trace. From any thread.
    pub log: unsafe extern "C" fn(level: u8, target: Bytes, message: Bytes),
    /// The highest level that the host wants; 0 for none.
    pub log_level_max: u8,
}

/// The context of a work unit as the host lends it for one call of `run_unit`.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct HostContext {
    /// Given back to every callback.
    pub this: *mut c_void,
    /// The callbacks.
    pub calls: HostCallsRef,
}

/// What the host's scan calls for each row.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Visitor {
    /// Given back to `visit`.
    pub this: *mut c_void,
    /// Looks at a row; returns 0 to stop. Never unwinds.
    pub visit: unsafe extern "C" fn(this: *mut c_void, key: Bytes, value: Bytes) -> u8,
}

/// Where `translate` puts derived rows.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct DerivedSink {
    /// Given back to `put`.
    pub this: *mut c_void,
    /// Takes a row of a derived table. Never unwinds.
    pub put: unsafe extern "C" fn(this: *mut c_void, table: u32, key: Bytes, value: Bytes),
}

/// The callbacks of a work unit's context. All of them take [`HostContext::this`] first and never unwind.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostCallsRef, prefix_fields = HostCallsPrefix)))]
#[sabi(missing_field(panic))]
pub struct HostCalls {
    /// The row under a key: `OK` and its bytes, valid until the next callback; or `ABSENT`.
    pub get: unsafe extern "C" fn(this: *mut c_void, table: u32, key: Bytes, value: *mut Bytes) -> Status,
    /// Writes a row.
    pub put: unsafe extern "C" fn(this: *mut c_void, table: u32, key: Bytes, value: Bytes) -> Status,
    /// Removes a row.
    pub delete: unsafe extern "C" fn(this: *mut c_void, table: u32, key: Bytes) -> Status,
    /// Visits the rows with `from <= key < to` (`to` may be absent) in order.
    pub scan: unsafe extern "C" fn(
        this: *mut c_void,
        table: u32,
        from: Bytes,
        to: Bytes,
        visitor: Visitor,
    ) -> Status,
    /// The procedure's time, in microseconds since the Unix epoch.
    pub time_us: unsafe extern "C" fn(this: *mut c_void) -> u64,
    /// The unit's next random number.
    pub random: unsafe extern "C" fn(this: *mut c_void) -> u64,
    /// Whether the feature with this index is on: 1 or 0.
    pub feature: unsafe extern "C" fn(this: *mut c_void, feature: u32) -> u8,
    /// The format in which rows of a table are to be written (R17).
    pub format: unsafe extern "C" fn(this: *mut c_void, table: u32) -> u16,
    /// The event's body, valid until `run_unit` returns.
    pub body: unsafe extern "C" fn(this: *mut c_void) -> Bytes,
    /// Sets the reply, already encoded.
    pub reply: unsafe extern "C" fn(this: *mut c_void, reply: Bytes) -> Status,
    /// A value that an earlier unit of this run left: as `get`.
    pub scratch: unsafe extern "C" fn(this: *mut c_void, name: Bytes, value: *mut Bytes) -> Status,
    /// Leaves a value for later units of this run.
    pub set_scratch: unsafe extern "C" fn(this: *mut c_void, name: Bytes, value: Bytes) -> Status,
    /// Writes a line to the host's log.
    #[sabi(last_prefix_field)]
    pub log: unsafe extern "C" fn(this: *mut c_void, level: u8, target: Bytes, message: Bytes),
    // Since 1.1.
    /// Sets a timer, due at a time in microseconds since the Unix epoch, that starts a procedure (R34).
    pub set_timer: unsafe extern "C" fn(
        this: *mut c_void,
        key: Bytes,
        at_us: u64,
        procedure: Bytes,
        parameters: Bytes,
    ) -> Status,
    /// Takes a timer away: `OK`, or `ABSENT` when there is none.
    pub cancel_timer: unsafe extern "C" fn(this: *mut c_void, key: Bytes) -> Status,
    /// When a timer is due: `OK`, or `ABSENT`.
    pub timer: unsafe extern "C" fn(this: *mut c_void, key: Bytes, at_us: *mut u64) -> Status,
    /// Sends a message to a partition of an application (R34).
    pub send: unsafe extern "C" fn(
        this: *mut c_void,
        application: Bytes,
        partition: u16,
        procedure: Bytes,
        parameters: Bytes,
    ) -> Status,
}

/// A procedure under way, as `begin` made it.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Begun {
    /// The run; goes to `run_unit` and, once, to `end`.
    pub handle: *mut c_void,
    /// The plan: indices of the procedure's units, in the order in which they are to run; valid until `end`.
    pub plan: *const u32,
    /// The plan's length.
    pub plan_len: usize,
}

/// The root module of a plugin.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef, prefix_fields = PluginModulePrefix)))]
#[sabi(missing_field(panic))]
pub struct PluginModule {
    /// The contract that the plugin was built with.
    pub api: ApiVersion,
    /// Puts the descriptor (`postcard`) into the sink. May be called without `start`.
    pub describe: unsafe extern "C" fn(out: *const Sink) -> Status,
    /// To be called once after loading, on the thread that will run the plugin: hooks, log bridge, the author's own
    /// start. Texts of errors go to `errors`.
    pub start: unsafe extern "C" fn(services: *const HostServices, errors: *const Sink) -> Status,
    /// To be called once before unloading, on the same thread, when no run is left: the author's shutdown, threads
    /// joined, hooks removed. After it nothing but `purge` and `live_bytes` may be called.
    pub shutdown: unsafe extern "C" fn(errors: *const Sink) -> Status,
    /// Frees what the plugin's statics still hold, as far as the SDK that it was built with can; returns how many bytes
    /// that was. No thread of the plugin may live, and nothing of it but `live_bytes` may be called after.
    pub purge: unsafe extern "C" fn() -> usize,
    /// How many bytes the plugin holds on the heap; 0 when it was built without the allocator of the SDK.
    pub live_bytes: unsafe extern "C" fn() -> usize,
    /// Decodes the parameters, makes the plan, and writes `begun` when it returns `OK`. A pure function of its
    /// arguments.
    pub begin: unsafe extern "C" fn(
        procedure: u32,
        encoding: u8,
        parameters: Bytes,
        features: u64,
        begun: *mut Begun,
        errors: *const Sink,
    ) -> Status,
    /// Runs the unit at `position` of the run's plan.
    pub run_unit: unsafe extern "C" fn(
        handle: *mut c_void,
        position: u32,
        context: *const HostContext,
        errors: *const Sink,
    ) -> Status,
    /// Drops a run.
    pub end: unsafe extern "C" fn(handle: *mut c_void),
    /// Whether this version can read a row, as it would before it acknowledges a shipped one (R17).
    pub check_row: unsafe extern "C" fn(table: u32, key: Bytes, value: Bytes, errors: *const Sink) -> Status,
    /// Puts the derived rows that a row of `table` gives (R17). A pure function of the row; may be called without
    /// `start`, from one thread at a time.
    pub translate: unsafe extern "C" fn(
        table: u32,
        key: Bytes,
        value: Bytes,
        rows: *const DerivedSink,
        errors: *const Sink,
    ) -> Status,
    /// Runs the undo of that name of a procedure, with the control parameters of the event whose unit is undone (R19).
    #[sabi(last_prefix_field)]
    pub undo: unsafe extern "C" fn(
        procedure: u32,
        undo: Bytes,
        encoding: u8,
        parameters: Bytes,
        context: *const HostContext,
        errors: *const Sink,
    ) -> Status,
    // Since 1.1.
    /// Puts the row, written in `format`, whatever format it is in now (R31). A pure function of its arguments.
    #[sabi(missing_field(option))]
    pub rewrite_row: unsafe extern "C" fn(
        table: u32,
        key: Bytes,
        value: Bytes,
        format: u16,
        row: *const Sink,
        errors: *const Sink,
    ) -> Status,
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "lockstep_plugin";
    const NAME: &'static str = "lockstep plugin";
    // `abi_stable` compares its major. It is the contract's, not that of the package, which says nothing of the contract.
    const VERSION_STRINGS: VersionStrings = VersionStrings::new("1.0.0");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_runs_plugins_of_its_major_and_of_no_higher_minor() {
        let version = |major, minor| ApiVersion { magic: API_MAGIC, major, minor };
        for (host, plugin, runs) in [
            ((1, 1), (1, 0), true),
            ((1, 1), (1, 1), true),
            ((1, 0), (1, 1), false),
            ((2, 3), (1, 3), false),
            ((1, 3), (2, 0), false),
        ] {
            assert_eq!(
                version(host.0, host.1).runs(version(plugin.0, plugin.1)),
                runs,
                "{host:?} {plugin:?}"
            );
        }
        assert!(!API_VERSION.runs(ApiVersion { magic: 1, ..API_VERSION }));
    }

    #[test]
    fn the_majors_of_the_contract_and_of_the_root_module_are_one() {
        let major = PluginModuleRef::VERSION_STRINGS.parsed().expect("three numbers").major;
        assert_eq!(major, API_VERSION.major);
    }
}
