//! winze-mlir on upstream dialects: every callback from C++, what it reports, and that nothing it holds is leaked.

mod context;
mod conversion;
mod diagnostics;
mod passes;
mod rewrite;
mod transform;
mod walk_and_locations;

use winze_mlir::{
    diagnostics::collect,
    melior::{
        Context,
        dialect::DialectRegistry,
        ir::{Module, OperationRef, operation::OperationLike},
        utility::{register_all_dialects, register_all_passes},
    },
    walk,
};

/// A context with every upstream dialect and pass.
fn context_with(threads: bool) -> Context {
    register_all_passes();
    let registry = DialectRegistry::new();
    register_all_dialects(&registry);
    let context = Context::new_with_registry(&registry, threads);
    context.load_all_available_dialects();
    context
}

fn context() -> Context {
    context_with(false)
}

fn parse<'c>(context: &'c Context, text: &str) -> Module<'c> {
    let (module, messages) = collect(context, || Module::parse(context, text));
    module.unwrap_or_else(|| panic!("{text}\n{messages:?}"))
}

/// The first operation called `name` inside `module`, which stays borrowed through the result.
fn find<'c, 'a>(module: &'a Module<'c>, name: &str) -> OperationRef<'c, 'a> {
    let mut found = None;
    let top = module.as_operation();
    let _ = walk::walk(top, &mut |op| {
        let is_it = op.name().as_string_ref().as_str() == Ok(name);
        if is_it {
            found = Some(op.to_raw());
            return Err(());
        }
        Ok(())
    });
    // SAFETY: the operation lives in the module.
    unsafe { OperationRef::from_raw(found.unwrap_or_else(|| panic!("no {name} in {top}"))) }
}

/// How often `text` holds `part`.
fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}
