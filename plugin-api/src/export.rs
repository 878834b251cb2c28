//! `application!`, which declares an application, and `export_application!`, which makes a plugin file of it.
//!
//! An application is a plain library first: tests and the simulated world link several of them side by side. Only the
//! thin crate of the plugin file exports symbols and has an allocator of its own.

/// The three numbers of a version, from text.
///
/// # Panics
/// When the text is not a version; at compile time, as `application!` uses it.
#[doc(hidden)]
#[must_use]
pub const fn version(text: &str) -> (u32, u32, u32) {
    let bytes = text.as_bytes();
    let mut numbers = [0u32; 3];
    let (mut at, mut part, mut digits) = (0, 0, 0);
    while at < bytes.len() {
        match bytes[at] {
            digit @ b'0'..=b'9' if digits < 9 => {
                numbers[part] = numbers[part] * 10 + (digit - b'0') as u32;
                digits += 1;
            }
            b'.' if digits > 0 && part < 2 => {
                part += 1;
                digits = 0;
            }
            _ => panic!("a version is three numbers, such as \"1.4.0\""),
        }
        at += 1;
    }
    assert!(part == 2 && digits > 0, "a version is three numbers, such as \"1.4.0\"");
    (numbers[0], numbers[1], numbers[2])
}

/// Declares an application: makes a function `application()` of the crate that gives it.
///
/// Lists stand in this order; `features`, `sends`, `start` and `shutdown` may be left out. `sends` names every
/// [`Receiver`](crate::Receiver) of messages in another application: a message to any other is then a fault, and an
/// upgrade is refused before it begins where one of them is not there. `start` and `shutdown` name functions
/// `fn() -> Result<(), Error>`, which are run on the thread that runs the application, before its first event and
/// after its last one. Threads that `start` made are joined by `shutdown`.
///
/// ```
/// use lockstep_plugin_api::prelude::*;
///
/// application! {
///     name: "counter",
///     version: "1.0.0",
///     tables: [COUNTS],
///     procedures: [add, count],
/// }
///
/// const COUNTS: Table<String, u64> = Table::new("counts");
///
/// #[derive(Serialize, Deserialize)]
/// pub struct Add { name: String, by: u64 }
///
/// #[derive(Serialize, Deserialize)]
/// pub struct Of { name: String }
///
/// #[procedure(version = 1)]
/// fn add(_add: &Add) -> Plan<Add> {
///     Plan::of([check, count_up])
/// }
///
/// #[work_unit]
/// fn check(_cx: &mut Context, add: &Add) -> Outcome {
///     refuse_unless!(add.by > 0, "nothing", "{} is to grow by at least one", add.name);
///     Ok(())
/// }
///
/// #[work_unit]
/// fn count_up(cx: &mut Context, add: &Add) -> Outcome {
///     let count = COUNTS.get(cx, &add.name)?.unwrap_or(0) + add.by;
///     COUNTS.put(cx, &add.name, &count)?;
///     cx.reply(&count)?;
///     Ok(())
/// }
///
/// #[procedure(version = 1, reads_only)]
/// fn count(cx: &Context, of: &Of) -> Reply<u64> {
///     Ok(COUNTS.get(cx, &of.name)?.or_refuse("unknown", format_args!("nothing is called {}", of.name))?)
/// }
///
/// # fn main() { assert_eq!(format!("{:?}", application()), "counter 1.0.0"); }
/// ```
#[macro_export]
macro_rules! application {
    (
        name: $name:expr,
        version: $version:expr,
        tables: [$($table:expr),* $(,)?],
        $(features: [$($feature:expr),* $(,)?],)?
        procedures: [$($procedure:path),* $(,)?]
        $(, sends: [$($receiver:expr),* $(,)?])?
        $(, start: $start:expr)?
        $(, shutdown: $shutdown:expr)?
        $(,)?
    ) => {
        /// The application that this crate declares.
        #[must_use]
        pub fn application() -> &'static $crate::Application {
            struct Linked;
            impl $crate::entries::Exported for Linked {
                const LOADED: bool = false;
                fn application() -> &'static $crate::Application {
                    application()
                }
            }
            static APPLICATION: $crate::Application = $crate::Application {
                name: $name,
                version: const { $crate::export::version($version) },
                tables: const { &[$($table.declared()),*] },
                features: const { &[$($($feature),*)?] },
                procedures: const { &[$($procedure().listed()),*] },
                sends: $crate::export::sends([$(const { &[$($receiver),*] })?]),
                start: $crate::export::hook([$($start as $crate::application::Hook)?]),
                shutdown: $crate::export::hook([$($shutdown as $crate::application::Hook)?]),
                module: $crate::entries::module_of::<Linked>,
                starts: $crate::application::Starts::none(),
            };
            &APPLICATION
        }
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "write `application! { name: \"..\", version: \"1.0.0\", tables: [..], features: [..], procedures: [..], \
             sends: [..], start: .., shutdown: .. }` in this order; `features`, `sends`, `start` and `shutdown` may be \
             left out"
        );
    };
}

/// The one hook, if there is one.
#[doc(hidden)]
#[must_use]
pub const fn hook<const N: usize>(hooks: [crate::application::Hook; N]) -> Option<crate::application::Hook> {
    if N == 0 { None } else { Some(hooks[0]) }
}

/// The receivers, if there is a list of them.
#[doc(hidden)]
#[must_use]
pub const fn sends<const N: usize>(
    lists: [&'static [crate::Receiver]; N],
) -> Option<&'static [crate::Receiver]> {
    if N == 0 { None } else { Some(lists[0]) }
}

/// Makes the crate that it stands in a plugin file of an application. To stand once, in a crate of its own with
/// `crate-type = ["cdylib"]`: it exports the symbols that the loader looks for, and sets the crate's allocator.
///
/// ```no_run,standalone_crate
/// # mod my_app {
/// #     lockstep_plugin_api::application! { name: "my-app", version: "1.0.0", tables: [], procedures: [] }
/// # }
/// lockstep_plugin_api::export_application!(my_app::application);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_application {
    ($application:path) => {
        #[global_allocator]
        static ALLOCATOR: $crate::alloc::Listed = $crate::alloc::Listed;

        struct Plugin;
        impl $crate::entries::Exported for Plugin {
            const LOADED: bool = true;
            fn application() -> &'static $crate::Application {
                $application()
            }
        }

        $crate::export_root!(Plugin);
    };
}

/// The symbols that the loader looks for: abi_stable's header and the version of the contract.
///
/// abi_stable's own attribute names the crate `::abi_stable`, which a plugin does not depend on; so what it would make
/// is made here. That the name is the one that is looked for is checked when a plugin is compiled.
#[doc(hidden)]
#[macro_export]
macro_rules! export_root {
    ($plugin:ty) => {
        const _: () = {
            use $crate::abi_stable::library as abi;

            const NAME: &str = "_1as_0lib_1header_0root_bmodule_bloader";
            assert!($crate::export::same(NAME, abi::ROOT_MODULE_LOADER_NAME), "abi_stable has another name");

            fn module() -> $crate::abi::PluginModuleRef {
                $crate::entries::module_of::<$plugin>()
            }

            extern "C" fn erased_module() -> abi::RootModuleResult {
                abi::__call_root_module_loader(module)
            }

            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static HEADER: abi::LibHeader = {
                // SAFETY: the constructor gives the module of the very type that is named here, with its layout.
                unsafe {
                    abi::LibHeader::from_constructor::<$crate::abi::PluginModuleRef>(
                        erased_module,
                        abi::CheckTypeLayout::Yes,
                    )
                }
            };

            #[unsafe(export_name = "LOCKSTEP_PLUGIN_API")]
            static API: $crate::abi::ApiVersion = $crate::abi::API_VERSION;
        };
    };
}

/// Whether two texts are the same; at compile time.
#[doc(hidden)]
#[must_use]
pub const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_three_numbers() {
        assert_eq!(version("1.40.0"), (1, 40, 0));
        for wrong in ["", "1", "1.2", "1.2.3.4", "1..2", "1.2.", "v1.2.3", "1.2.3-a", "1.2.12345678901"] {
            assert!(std::panic::catch_unwind(|| version(wrong)).is_err(), "{wrong}");
        }
    }
}
