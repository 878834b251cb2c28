//! Finds the work units that a plan names, and puts the units in place of their names.

use quote::{ToTokens, quote_spanned};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Block, Expr, ExprCall, ExprMethodCall, ExprPath, Path};

/// What a plan names, in the order in which it does, each once.
#[derive(Default)]
pub(crate) struct PlanUnits {
    pub(crate) paths: Vec<Path>,
}

impl PlanUnits {
    /// Takes the names out of a plan's function.
    pub(crate) fn take(&mut self, block: &mut Block) {
        self.visit_block_mut(block);
    }

    /// Adds a unit, unless it is there.
    pub(crate) fn add(&mut self, path: &Path) {
        let text = |path: &Path| path.to_token_stream().to_string();
        if !self.paths.iter().any(|known| text(known) == text(path)) {
            self.paths.push(path.clone());
        }
    }

    /// Replaces `unit` by its constant if it is a name.
    fn replace(&mut self, unit: &mut Expr) {
        if let Expr::Path(ExprPath { path, qself: None, .. }) = unit {
            self.add(path);
            // Spanned, so that a unit of other control parameters is told at the author's line.
            let constant =
                quote_spanned! { path.span() => <#path as ::lockstep_plugin_api::plan::IsWorkUnit>::UNIT };
            *unit = Expr::Verbatim(constant);
        }
    }
}

fn is_plan_of(function: &Expr) -> bool {
    let Expr::Path(path) = function else { return false };
    let segments = &path.path.segments;
    let names: Vec<String> = segments.iter().rev().take(2).map(|segment| segment.ident.to_string()).collect();
    names == ["of", "Plan"]
}

impl VisitMut for PlanUnits {
    fn visit_expr_call_mut(&mut self, call: &mut ExprCall) {
        if is_plan_of(&call.func)
            && let [Expr::Array(array)] = &mut call.args.iter_mut().collect::<Vec<_>>()[..]
        {
            array.elems.iter_mut().for_each(|unit| self.replace(unit));
        }
        visit_mut::visit_expr_call_mut(self, call);
    }

    fn visit_expr_method_call_mut(&mut self, call: &mut ExprMethodCall) {
        // The receiver first: it comes first in the plan.
        self.visit_expr_mut(&mut call.receiver);
        let at = match (call.method.to_string().as_str(), call.args.len()) {
            ("then", 1) => Some(0),
            ("when" | "unless", 2) => Some(1),
            _ => None,
        };
        for (index, argument) in call.args.iter_mut().enumerate() {
            if Some(index) == at {
                self.replace(argument);
            }
            self.visit_expr_mut(argument);
        }
    }
}
