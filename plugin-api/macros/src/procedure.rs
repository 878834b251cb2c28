//! `#[procedure]`: a function that says what the runtime needs to know of the procedure, in place of the author's.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Ident, ItemFn, LitInt, Path, Result, Token, bracketed};

use crate::plan_units::PlanUnits;
use crate::signature::{arguments, check_plain, is_named, output};
use crate::work_unit::undo_of;

const EXPECTED: &str = "fn name(parameters: &Parameters) -> Plan<Parameters>` or \
                        `fn name(cx: &mut Context, parameters: &Parameters) -> Reply<T>";

/// What stands in the attribute.
#[derive(Default)]
struct Declared {
    version: Option<u32>,
    completes: bool,
    reads_only: bool,
    one_sided: bool,
    body: Option<bool>,
    deadline_ms: u32,
    hang_ms: u32,
    units: Vec<Path>,
    undos: Vec<Path>,
}

impl Parse for Declared {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut declared = Declared::default();
        while !input.is_empty() {
            let name: Ident = input.parse()?;
            match name.to_string().as_str() {
                "reads_only" => declared.reads_only = true,
                "one_sided" => declared.one_sided = true,
                "version" => {
                    let (number, span) = number(input)?;
                    if number == 0 {
                        return Err(Error::new(span, "versions are numbered from 1"));
                    }
                    declared.version = Some(number);
                }
                "deadline_ms" => declared.deadline_ms = number(input)?.0,
                "hang_ms" => {
                    let (number, span) = number(input)?;
                    if number == 0 {
                        return Err(Error::new(span, "leave `hang_ms` out for its default"));
                    }
                    declared.hang_ms = number;
                }
                "recovery" => declared.completes = word(input, "complete", "roll_back")?,
                "body" => declared.body = Some(word(input, "withheld", "carried")?),
                "units" => declared.units = paths(input)?,
                "undos" => declared.undos = paths(input)?,
                other => {
                    let message = format!(
                        "`{other}` is not one of version, recovery, reads_only, one_sided, body, deadline_ms, hang_ms, \
                         units, undos"
                    );
                    return Err(Error::new(name.span(), message));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(declared)
    }
}

fn number(input: ParseStream<'_>) -> Result<(u32, Span)> {
    input.parse::<Token![=]>()?;
    let literal: LitInt = input.parse()?;
    Ok((literal.base10_parse()?, literal.span()))
}

/// `= [a, b]`.
fn paths(input: ParseStream<'_>) -> Result<Vec<Path>> {
    input.parse::<Token![=]>()?;
    let list;
    bracketed!(list in input);
    Ok(Punctuated::<Path, Token![,]>::parse_terminated(&list)?.into_iter().collect())
}

/// `= yes` or `= no`.
fn word(input: ParseStream<'_>, yes: &str, no: &str) -> Result<bool> {
    input.parse::<Token![=]>()?;
    let word: Ident = input.parse()?;
    match word {
        _ if word == yes => Ok(true),
        _ if word == no => Ok(false),
        _ => Err(Error::new(word.span(), format!("write `{yes}` or `{no}`"))),
    }
}

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let declared: Declared = syn::parse2(attribute)?;
    let mut function: ItemFn = syn::parse2(item)?;
    check_plain(&function, "a procedure")?;
    let Some(version) = declared.version else {
        return Err(Error::new(
            function.sig.ident.span(),
            "a procedure has a version; write `#[procedure(version = 1)]`, and raise it with every change of its \
             plan, its units or what they write",
        ));
    };
    let parts = if is_named(output(&function, EXPECTED)?, "Plan") {
        planned(&mut function, &declared)?
    } else {
        single(&function, &declared)?
    };
    let Parts { items, units, begin, undo, undos, parameters } = parts;
    let (name, visibility, attributes) = (&function.sig.ident, &function.vis, &function.attrs);
    let text = name.to_string();
    let Declared { completes, reads_only, one_sided, body, deadline_ms, hang_ms, .. } = declared;
    let body_withheld = body == Some(true);
    Ok(quote! {
        #(#attributes)*
        #[must_use]
        #[allow(clippy::redundant_closure)]
        #visibility const fn #name() -> ::lockstep_plugin_api::procedure::Typed<#parameters> {
            #items
            fn __begin(
                beginning: ::lockstep_plugin_api::procedure::Beginning<'_>,
            ) -> ::core::result::Result<
                ::lockstep_plugin_api::procedure::RunHandle,
                ::lockstep_plugin_api::procedure::Malformed,
            > {
                #begin
            }
            fn __undo(
                undoing: &::lockstep_plugin_api::procedure::Undoing<'_>,
            ) -> ::core::option::Option<::lockstep_plugin_api::Outcome> {
                #undo
            }
            ::lockstep_plugin_api::procedure::Typed::new(::lockstep_plugin_api::procedure::Procedure::new(
                ::lockstep_plugin_api::procedure::Declared {
                    name: #text,
                    version: #version,
                    completes: #completes,
                    reads_only: #reads_only,
                    one_sided: #one_sided,
                    body_withheld: #body_withheld,
                    deadline_ms: #deadline_ms,
                    hang_ms: #hang_ms,
                    units: const { &[#(#units.declared()),*] },
                    undos: const { &[#(#undos.name()),*] },
                },
                __begin,
                __undo,
                ::lockstep_plugin_api::schema::of::<#parameters>,
            ))
        }
    })
}

/// What differs between the two forms of a procedure.
struct Parts {
    items: TokenStream,
    units: Vec<TokenStream>,
    begin: TokenStream,
    undo: TokenStream,
    undos: Vec<TokenStream>,
    parameters: TokenStream,
}

/// A procedure that makes a plan.
fn planned(function: &mut ItemFn, declared: &Declared) -> Result<Parts> {
    let parameters = match arguments(function, EXPECTED)?[..] {
        [parameters] => parameters.elem.to_token_stream(),
        _ => {
            let span = function.sig.inputs.span();
            let message = "a plan is made from the control parameters alone: the same on both sides";
            return Err(Error::new(span, message));
        }
    };
    if declared.reads_only {
        let message =
            "a procedure that reads only has one unit; write `fn name(cx: &Context, ..) -> Reply<T>`";
        return Err(Error::new(function.sig.ident.span(), message));
    }
    let mut units = PlanUnits::default();
    units.take(&mut function.block);
    declared.units.iter().for_each(|path| units.add(path));
    if units.paths.is_empty() {
        let message = "no work unit is named in this plan; write `Plan::of([a, b])`, or name the units in \
                       `#[procedure(units = [a, b])]`";
        return Err(Error::new(function.sig.ident.span(), message));
    }
    let (inputs, output, block) = (&function.sig.inputs, &function.sig.output, &function.block);
    let units = units.paths.iter().map(|path| {
        quote_spanned! { path.span() => <#path as ::lockstep_plugin_api::plan::IsWorkUnit>::UNIT }
    });
    let units: Vec<_> = units.collect();
    let acting = units.iter().map(|unit| quote_spanned! { unit.span() => #unit.undo() });
    let undos: Vec<_> = declared.undos.iter().map(|path| undo_of(path, &parameters)).collect();
    Ok(Parts {
        items: quote! { #[allow(clippy::ptr_arg)] fn __plan(#inputs) #output #block },
        undo: quote! { undoing.among::<#parameters>(&[#(#acting),*], &[#(#undos),*]) },
        undos,
        units,
        begin: quote! { beginning.planned::<#parameters>(__plan) },
        parameters,
    })
}

/// A procedure of one unit.
fn single(function: &ItemFn, declared: &Declared) -> Result<Parts> {
    let arguments = arguments(function, EXPECTED)?;
    let [context, parameters] = arguments[..] else {
        return Err(Error::new(function.sig.inputs.span(), format!("write `{EXPECTED}`")));
    };
    if !is_named(&context.elem, "Context") {
        return Err(Error::new(context.span(), format!("the context comes first; write `{EXPECTED}`")));
    }
    if !declared.units.is_empty() {
        let message = "a procedure of one unit lists none; `units` goes with a plan";
        return Err(Error::new(function.sig.ident.span(), message));
    }
    if !declared.undos.is_empty() {
        let message = "a procedure of one unit does not act on the world; `undos` goes with a plan";
        return Err(Error::new(function.sig.ident.span(), message));
    }
    let (inputs, output, block) = (&function.sig.inputs, &function.sig.output, &function.block);
    let (text, parameters) = (function.sig.ident.to_string(), &parameters.elem);
    let reads_body = declared.body.is_some();
    let run = quote_spanned! { output.span() => {
        let result = __unit(cx, parameters);
        ::lockstep_plugin_api::procedure::replied(result, cx)
    } };
    Ok(Parts {
        items: quote! {
            #[allow(clippy::ptr_arg)]
            fn __unit(#inputs) #output #block
            const __UNIT: ::lockstep_plugin_api::plan::WorkUnit<#parameters> =
                ::lockstep_plugin_api::plan::WorkUnit::new(#text, #reads_body, |cx, parameters| #run);
        },
        units: vec![quote! { __UNIT }],
        begin: quote! { beginning.single::<#parameters>(__UNIT) },
        undo: quote! { undoing.none() },
        undos: Vec::new(),
        parameters: quote! { #parameters },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(attribute: TokenStream, item: TokenStream) -> String {
        expand(attribute, item).expect_err("it is refused").to_string()
    }

    #[test]
    fn a_plan_names_its_units_once_each_in_their_order() {
        let made = expand(
            quote! { version = 2, recovery = complete, units = [extra, check] },
            quote! {
                pub fn transfer(t: &Transfer) -> Plan<Transfer> {
                    let fast = t.cents < 10;
                    Plan::of([check, books::debit]).when(FEE, charge).unless(FEE, thank).then(check)
                }
            },
        )
        .expect("it is a procedure")
        .to_string();
        let declared = &made[made.find("units : const").expect("units are declared")..];
        let places: Vec<_> = ["check", "books :: debit", "charge", "thank", "extra"]
            .map(|unit| {
                declared.find(&format!("< {unit} as")).unwrap_or_else(|| panic!("{unit}: {declared}"))
            })
            .into();
        assert!(places.is_sorted(), "{declared}");
        assert_eq!(declared.matches("< check as").count(), 1, "{declared}");
        assert!(made.contains("pub const fn transfer ()") && made.contains("version : 2u32"), "{made}");
    }

    #[test]
    fn what_is_no_procedure_is_refused_with_what_to_write() {
        let plan = quote! { fn transfer(t: &Transfer) -> Plan<Transfer> { Plan::of([check]) } };
        let told = refused(quote! {}, plan.clone());
        assert!(told.contains("#[procedure(version = 1)]"), "{told}");
        assert!(refused(quote! { version = 0 }, plan.clone()).contains("numbered from 1"));
        let told = refused(quote! { version = 1, recovery = maybe }, plan.clone());
        assert!(told.contains("`complete` or `roll_back`"), "{told}");
        let told = refused(quote! { version = 1, colour = red }, plan.clone());
        assert!(told.contains("`colour` is not one of"), "{told}");
        let told = refused(quote! { version = 1, reads_only }, plan.clone());
        assert!(told.contains("one unit"), "{told}");
        let made = expand(quote! { version = 2, undos = [post::unsend] }, plan).expect("it is a procedure");
        let made = made.to_string();
        assert!(
            made.contains("undos : const { & [:: lockstep_plugin_api :: plan :: Undo :: < Transfer >"),
            "{made}"
        );
        let told = refused(
            quote! { version = 1, undos = [unsend] },
            quote! { fn p(cx: &mut Context, t: &T) -> Reply<u8> { x() } },
        );
        assert!(told.contains("does not act on the world"), "{told}");
        let told = refused(quote! { version = 1 }, quote! { fn p(t: &T) -> Plan<T> { elsewhere(t) } });
        assert!(told.contains("units = [a, b]"), "{told}");
        let told =
            refused(quote! { version = 1 }, quote! { fn p(cx: &mut Context, t: &T) -> Plan<T> { x() } });
        assert!(told.contains("control parameters alone"), "{told}");
        let told =
            refused(quote! { version = 1 }, quote! { fn p(t: &T, cx: &mut Context) -> Reply<u8> { x() } });
        assert!(told.contains("context comes first"), "{told}");
        let told =
            refused(quote! { version = 1 }, quote! { fn p(cx: &mut Context, t: T) -> Reply<u8> { x() } });
        assert!(told.contains("by reference"), "{told}");
        let told = refused(quote! { version = 1 }, quote! { fn p(cx: &mut Context, t: &T) { x() } });
        assert!(told.contains("nothing is returned"), "{told}");
        let told = refused(quote! { version = 1 }, quote! { async fn p(t: &T) -> Plan<T> { x() } });
        assert!(told.contains("this one is async"), "{told}");
    }
}
