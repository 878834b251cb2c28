//! Changes its rows without a new format.

pub mod one {
    //! Version 1: a note has a number.

    use crate::Name;
    use lockstep_plugin_api::prelude::*;

    const NOTES: Table<String, u64> = Table::new("notes");

    application! {
        name: "noting",
        version: "1.0.0",
        tables: [NOTES],
        procedures: [note],
    }

    #[procedure(version = 1)]
    fn note(cx: &mut Context, name: &Name) -> Reply<()> {
        NOTES.put(cx, &name.0, &1)?;
        Ok(())
    }
}

pub mod two {
    //! Version 2: and a line of text, in what it says is format 1.

    use crate::Name;
    use lockstep_plugin_api::prelude::*;

    const NOTES: Table<String, (u64, String)> = Table::new("notes");

    application! {
        name: "noting",
        version: "2.0.0",
        tables: [NOTES],
        procedures: [note],
    }

    #[procedure(version = 2)]
    fn note(cx: &mut Context, name: &Name) -> Reply<()> {
        NOTES.put(cx, &name.0, &(1, name.0.clone()))?;
        Ok(())
    }
}

pub mod three {
    //! Version 3: no notes any more.

    use crate::Name;
    use lockstep_plugin_api::prelude::*;

    const LINES: Table<String, u64> = Table::new("lines");

    application! {
        name: "noting",
        version: "3.0.0",
        tables: [LINES],
        procedures: [note],
    }

    #[procedure(version = 3)]
    fn note(cx: &mut Context, name: &Name) -> Reply<()> {
        LINES.put(cx, &name.0, &1)?;
        Ok(())
    }
}
