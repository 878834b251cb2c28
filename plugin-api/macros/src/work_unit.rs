//! `#[work_unit]`: the function as written, and beside it a type of the same name that a plan finds it by.
//!
//! Functions and types have namespaces of their own, so `check` stays callable and `check` is also the unit.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Ident, ItemFn, Path, Result, Token};

use crate::signature::{arguments, check_plain, is_named, output};

/// What stands in the attribute.
#[derive(Default)]
struct Declared {
    reads_body: bool,
    undo: Option<Path>,
}

const EXPECTED: &str = "fn name(cx: &mut Context, parameters: &Parameters) -> Outcome";

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let Declared { reads_body, undo } = syn::parse2(attribute)?;
    let function: ItemFn = syn::parse2(item)?;
    check_plain(&function, "a work unit")?;
    let arguments = arguments(&function, EXPECTED)?;
    let [context, parameters] = arguments[..] else {
        return Err(Error::new(
            function.sig.inputs.span(),
            format!("a work unit takes its context and the control parameters; write `{EXPECTED}`"),
        ));
    };
    if !is_named(&context.elem, "Context") {
        return Err(Error::new(context.span(), format!("the context comes first; write `{EXPECTED}`")));
    }
    let output = output(&function, EXPECTED)?;
    let (name, visibility) = (&function.sig.ident, &function.vis);
    let text = name.to_string();
    let parameters = &parameters.elem;
    let parameters_span = parameters.span();
    // Spanned, so that a wrong return type is told at the author's line.
    let run = quote_spanned! { output.span() =>
        |cx, parameters| ::lockstep_plugin_api::plan::IsOutcome::outcome(#name(cx, parameters))
    };
    let bound = quote_spanned! { parameters_span => type Parameters = #parameters; };
    let undone_by = undo.as_ref().map(|path| {
        let undo = undo_of(path, &parameters.to_token_stream());
        quote! { .undone_by(#undo) }
    });
    Ok(quote! {
        // The signature is the contract's: `&String` is right where the parameters are a `String`.
        #[allow(clippy::ptr_arg)]
        #function

        #[doc(hidden)]
        #[allow(non_camel_case_types)]
        #visibility struct #name {}

        #[allow(clippy::redundant_closure)]
        impl ::lockstep_plugin_api::plan::IsWorkUnit for #name {
            #bound
            const UNIT: ::lockstep_plugin_api::plan::WorkUnit<#parameters> =
                ::lockstep_plugin_api::plan::WorkUnit::new(#text, #reads_body, #run) #undone_by;
        }
    })
}

impl Parse for Declared {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut declared = Declared::default();
        while !input.is_empty() {
            let word: Ident = input.parse()?;
            match word.to_string().as_str() {
                "body" => declared.reads_body = true,
                "undo" => {
                    input.parse::<Token![=]>()?;
                    declared.undo = Some(input.parse()?);
                }
                _ => {
                    return Err(Error::new(
                        word.span(),
                        "write `#[work_unit]`, `#[work_unit(body)]` for a unit that reads the event's body, or \
                         `#[work_unit(undo = take_back)]` for one that acts on the world, with a function \
                         `fn take_back(cx: &Context, parameters: &Parameters) -> Outcome`",
                    ));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(declared)
    }
}

/// The undo that the function at `path` is, under the last part of its path. Spanned, so that a function of another
/// shape is told at the author's line; in a closure, so that one for `&String` may take a `&str`.
pub(crate) fn undo_of(path: &Path, parameters: &TokenStream) -> TokenStream {
    let name = path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
    quote_spanned! { path.span() =>
        ::lockstep_plugin_api::plan::Undo::<#parameters>::new(#name, |cx, parameters| #path(cx, parameters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_stays_and_a_type_of_its_name_carries_the_unit() {
        let item = quote! { pub fn check(cx: &mut Context, t: &Transfer) -> Outcome { Ok(()) } };
        let made = expand(quote! { body }, item).expect("it is a work unit").to_string();
        assert!(made.contains("pub fn check (cx") && made.contains("pub struct check { }"), "{made}");
        let called = "outcome (check (cx , parameters))";
        assert!(
            made.contains("new (\"check\" , true , | cx , parameters |") && made.contains(called),
            "{made}"
        );
        let item = quote! { fn look(cx: &Context, t: &Transfer) -> Outcome { Ok(()) } };
        let made = expand(quote! {}, item).expect("a unit may only read").to_string();
        assert!(made.contains("outcome (look (cx , parameters))"), "{made}");
    }

    #[test]
    fn a_unit_that_acts_carries_its_undo() {
        let item = quote! { fn send(cx: &mut Context, t: &Letter) -> Outcome { Ok(()) } };
        let made = expand(quote! { body, undo = post::unsend }, item).expect("it is a work unit").to_string();
        let undo =
            "Undo :: < Letter > :: new (\"unsend\" , | cx , parameters | post :: unsend (cx , parameters))";
        assert!(made.contains(") . undone_by (") && made.contains(undo), "{made}");
    }

    #[test]
    fn what_is_no_work_unit_is_refused_with_what_to_write() {
        let refused = |attribute, item| expand(attribute, item).expect_err("it is refused").to_string();
        let told = refused(quote! {}, quote! { fn check(t: &Transfer) -> Outcome { Ok(()) } });
        assert!(told.contains(EXPECTED), "{told}");
        let told =
            refused(quote! {}, quote! { fn check(t: &Transfer, cx: &mut Context) -> Outcome { Ok(()) } });
        assert!(told.contains("context comes first"), "{told}");
        let told =
            refused(quote! { bodies }, quote! { fn check(cx: &mut Context, t: &T) -> Outcome { Ok(()) } });
        assert!(told.contains("#[work_unit(body)]"), "{told}");
        let told =
            refused(quote! { undo }, quote! { fn send(cx: &mut Context, t: &T) -> Outcome { Ok(()) } });
        assert!(told.contains("expected `=`"), "{told}");
        let told = refused(
            quote! { undo = unsend, twice },
            quote! { fn send(cx: &mut Context, t: &T) -> Outcome { Ok(()) } },
        );
        assert!(told.contains("undo = take_back"), "{told}");
        let told = refused(quote! {}, quote! { fn check<T>(cx: &mut Context, t: &T) -> Outcome { Ok(()) } });
        assert!(told.contains("this one is generic"), "{told}");
    }
}
