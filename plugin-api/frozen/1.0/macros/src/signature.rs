//! What both macros ask of a function's signature.

use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, Result, ReturnType, Type, TypeReference};

/// Refuses what no procedure and no work unit can be.
pub(crate) fn check_plain(function: &ItemFn, what: &str) -> Result<()> {
    let signature = &function.sig;
    let refused = if let Some(async_) = &signature.asyncness {
        Some((async_.span(), "async"))
    } else if let Some(unsafe_) = &signature.unsafety {
        Some((unsafe_.span(), "unsafe"))
    } else if !signature.generics.params.is_empty() {
        Some((signature.generics.span(), "generic"))
    } else {
        None
    };
    match refused {
        Some((span, how)) => {
            Err(Error::new(span, format!("{what} is a plain function, and this one is {how}")))
        }
        None => Ok(()),
    }
}

/// The types of the function's arguments, which are references.
pub(crate) fn arguments<'a>(function: &'a ItemFn, expected: &str) -> Result<Vec<&'a TypeReference>> {
    function.sig.inputs.iter().map(|argument| referred(argument, expected)).collect()
}

fn referred<'a>(argument: &'a FnArg, expected: &str) -> Result<&'a TypeReference> {
    if let FnArg::Typed(typed) = argument
        && let Type::Reference(reference) = &*typed.ty
    {
        return Ok(reference);
    }
    Err(Error::new(argument.span(), format!("an argument is taken by reference here; write `{expected}`")))
}

/// The type that the function returns.
pub(crate) fn output<'a>(function: &'a ItemFn, expected: &str) -> Result<&'a Type> {
    match &function.sig.output {
        ReturnType::Type(_, output) => Ok(output),
        ReturnType::Default => {
            Err(Error::new(function.sig.ident.span(), format!("nothing is returned; write `{expected}`")))
        }
    }
}

/// Whether the last part of a type's path is `name`.
pub(crate) fn is_named(type_: &Type, name: &str) -> bool {
    matches!(type_, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == name))
}
