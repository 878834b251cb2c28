//! `#[work_unit]`: the function as written, and beside it a type of the same name that a plan finds it by.
//!
//! Functions and types have namespaces of their own, so `check` stays callable and `check` is also the unit.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Ident, ItemFn, Result};

use crate::signature::{arguments, check_plain, is_named, output};

const EXPECTED: &str = "fn name(cx: &mut Context, parameters: &Parameters) -> Outcome";

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let reads_body = parse_attribute(attribute)?;
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
    let run = if context.mutability.is_some() {
        quote_spanned! { output.span() => #name }
    } else {
        quote_spanned! { output.span() => |cx, parameters| #name(cx, parameters) }
    };
    let bound = quote_spanned! { parameters_span => type Parameters = #parameters; };
    Ok(quote! {
        #function

        #[doc(hidden)]
        #[allow(non_camel_case_types)]
        #visibility struct #name {}

        impl ::lockstep_plugin_api::plan::IsWorkUnit for #name {
            #bound
            const UNIT: ::lockstep_plugin_api::plan::WorkUnit<#parameters> =
                ::lockstep_plugin_api::plan::WorkUnit::new(#text, #reads_body, #run);
        }
    })
}

fn parse_attribute(attribute: TokenStream) -> Result<bool> {
    if attribute.is_empty() {
        return Ok(false);
    }
    let word: Ident = syn::parse2(attribute)?;
    if word == "body" {
        return Ok(true);
    }
    Err(Error::new(
        word.span(),
        "write `#[work_unit]`, or `#[work_unit(body)]` for a unit that reads the event's body",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_stays_and_a_type_of_its_name_carries_the_unit() {
        let item = quote! { pub fn check(cx: &mut Context, t: &Transfer) -> Outcome { Ok(()) } };
        let made = expand(quote! { body }, item).expect("it is a work unit").to_string();
        assert!(made.contains("pub fn check (cx") && made.contains("pub struct check { }"), "{made}");
        assert!(made.contains("new (\"check\" , true , check)"), "{made}");
        let item = quote! { fn look(cx: &Context, t: &Transfer) -> Outcome { Ok(()) } };
        let made = expand(quote! {}, item).expect("a unit may only read").to_string();
        assert!(made.contains("false , | cx , parameters | look"), "{made}");
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
        let told = refused(quote! {}, quote! { fn check<T>(cx: &mut Context, t: &T) -> Outcome { Ok(()) } });
        assert!(told.contains("this one is generic"), "{told}");
    }
}
