//! What a work unit must not use, and what it uses instead.

/// For people whose work units differ from one run to the next.
pub(crate) const HINTS: &str = "\
hint: the same event must do the same on every run. A work unit depends on its parameters, rows and context alone:
  not a clock (std::time), but cx.time()
  not random numbers, addresses or thread ids of its own, but cx.random()
  not the order of a HashMap or HashSet, but an `ordered` table, a BTreeMap, or sort first
  nothing kept in statics or thread-locals, but rows, or a `Scratch` from one unit to the next";

/// Added when the same things came in another order.
pub(crate) const ORDER: &str = "\
it wrote the same in another order, as happens with the order of a HashMap or HashSet: use an `ordered` table, a \
BTreeMap, or sort first";
