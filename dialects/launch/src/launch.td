// The host-program dialect: what the runtime does, in order, on planned buffers.
#ifndef WINZE_LAUNCH_TD
#define WINZE_LAUNCH_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Launch_Dialect : Dialect {
  let name = "launch";
  let cppNamespace = "::launch";
  let summary = "Host programs over planned buffers";
  let description = [{
    Buffers are memrefs, registers are i64, f64 and i1 values. Arithmetic is `arith`, control flow `scf`; this dialect adds what touches buffers.
    Extents and offsets are affine maps over the symbols of the program.
  }];
}

class Launch_Op<string mnemonic, list<Trait> traits = []> : Op<Launch_Dialect, mnemonic, traits>;

def Launch_Register : AnyTypeOf<[I64, F64, I1], "register (i64, f64 or i1)">;

def Launch_ProgramOp : Launch_Op<"program", [IsolatedFromAbove, Symbol, NoRegionArguments, SingleBlock, NoTerminator]> {
  let summary = "the host program of one function for one target";
  let arguments = (ins SymbolNameAttr:$sym_name, StrArrayAttr:$symbols, AffineMapAttr:$arena);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name `symbols` $symbols `arena` $arena attr-dict-with-keyword $body";
}

def Launch_SymbolOp : Launch_Op<"symbol", [Pure]> {
  let summary = "value of a symbolic dim";
  let arguments = (ins I64Attr:$index);
  let results = (outs I64:$result);
  let assemblyFormat = "$index attr-dict";
}

class Launch_BufferOp<string mnemonic, string what> : Launch_Op<mnemonic, [Pure]> {
  let summary = what;
  let results = (outs AnyMemRef:$result);
}

def Launch_InputOp : Launch_BufferOp<"input", "the buffer bound to an input; `extents` has one result per dim"> {
  let arguments = (ins I64Attr:$index, AffineMapAttr:$extents);
  let assemblyFormat = "$index `extents` $extents attr-dict `:` type($result)";
}

def Launch_OutputOp : Launch_BufferOp<"output", "the buffer bound to an output"> {
  let arguments = (ins I64Attr:$index, AffineMapAttr:$extents);
  let assemblyFormat = "$index `extents` $extents attr-dict `:` type($result)";
}

def Launch_StateOp : Launch_BufferOp<"state", "a part of a tensor that stays in the session, from an element of it on"> {
  let arguments = (ins I64Attr:$index, AffineMapAttr:$offset, AffineMapAttr:$extents);
  let assemblyFormat = "$index `offset` $offset `extents` $extents attr-dict `:` type($result)";
}

def Launch_NextStateOp : Launch_BufferOp<"next_state", "the next value of such a tensor, where it is made anew"> {
  let arguments = (ins I64Attr:$index, AffineMapAttr:$extents);
  let assemblyFormat = "$index `extents` $extents attr-dict `:` type($result)";
}

def Launch_ConstantOp : Launch_BufferOp<"constant", "a constant of the artifact: by id of the constant store, or a small value"> {
  let arguments = (ins StrAttr:$id, OptionalAttr<ElementsAttr>:$value);
  let assemblyFormat = "$id (`value` $value^)? attr-dict `:` type($result)";
}

def Launch_ArenaOp : Launch_BufferOp<"arena", "a range of the arena at a byte offset; -1 before the arena is planned"> {
  let arguments = (ins AffineMapAttr:$offset, AffineMapAttr:$extents);
  let assemblyFormat = "`offset` $offset `extents` $extents attr-dict `:` type($result)";
}

def Launch_ViewOp : Launch_BufferOp<"view", "the same bytes under another shape"> {
  let arguments = (ins AnyMemRef:$source, AffineMapAttr:$extents);
  let assemblyFormat = "$source `extents` $extents attr-dict `:` type($source) `to` type($result)";
}

def Launch_DispatchOp : Launch_Op<"dispatch"> {
  let summary = "runs a kernel over its grid";
  let description = [{
    `buffers` are the kernel's tensor arguments: inputs, then `outputs` many results. `dims` are its symbol arguments. `nodes` are the model nodes computed.
  }];
  let arguments = (ins StrAttr:$kernel, Variadic<AnyMemRef>:$buffers, I64Attr:$outputs, DenseI64ArrayAttr:$symbols, StrArrayAttr:$nodes);
  let assemblyFormat = "$kernel `(` $buffers `)` `outputs` $outputs `symbols` $symbols `nodes` $nodes attr-dict `:` type($buffers)";
}

def Launch_CopyOp : Launch_Op<"copy"> {
  let summary = "copies all bytes of a buffer";
  let arguments = (ins AnyMemRef:$source, AnyMemRef:$target);
  let assemblyFormat = "$source `to` $target attr-dict `:` type($source) `to` type($target)";
}

def Launch_CopyPartOp : Launch_Op<"copy_part"> {
  let summary = "copies `count` elements from linear index `source_offset` to linear index `target_offset`";
  let arguments = (ins AnyMemRef:$source, I64:$source_offset, AnyMemRef:$target, I64:$target_offset, I64:$count);
  let assemblyFormat = [{
    $count `of` $source `[` $source_offset `]` `to` $target `[` $target_offset `]` attr-dict `:` type($source) `to` type($target)
  }];
}

def Launch_LoadOp : Launch_Op<"load"> {
  let summary = "reads one element, by linear index, into a register; waits for the device";
  let arguments = (ins AnyMemRef:$source, I64:$index);
  let results = (outs Launch_Register:$result);
  let assemblyFormat = "$source `[` $index `]` attr-dict `:` type($source) `->` type($result)";
}

def Launch_StoreOp : Launch_Op<"store"> {
  let summary = "writes a register to one element, by linear index, where a kernel or the caller reads it";
  let arguments = (ins Launch_Register:$value, AnyMemRef:$target, I64:$index);
  let assemblyFormat = "$value `to` $target `[` $index `]` attr-dict `:` type($value) `to` type($target)";
}

def Launch_SetSymbolOp : Launch_Op<"set_symbol"> {
  let summary = "gives a symbol that is found while running its value";
  let description = [{
    The two results of `bounds` are the smallest and the largest value; beyond them the run stops and names `what`. Buffers whose extents use the
    symbol have their size from here on.
  }];
  let arguments = (ins I64:$value, I64Attr:$symbol, AffineMapAttr:$bounds, StrAttr:$what);
  let assemblyFormat = "$symbol `to` $value `bounds` $bounds $what attr-dict";
}

def Launch_BarrierOp : Launch_Op<"barrier"> {
  let summary = "orders everything before against everything after, on any device";
  let assemblyFormat = "attr-dict";
}

def Launch_CallOp : Launch_Op<"call", [AttrSizedOperandSegments]> {
  let summary = "runs another program on buffers of this one";
  let arguments = (ins StrAttr:$callee, Variadic<AnyMemRef>:$inputs, Variadic<AnyMemRef>:$outputs, Variadic<I64>:$symbols, AffineMapAttr:$arena);
  let assemblyFormat = [{
    $callee `(` $inputs `)` `->` `(` $outputs `)` `symbols` `(` $symbols `)` `arena` $arena attr-dict `:` type($inputs) `->` type($outputs)
  }];
}

def Launch_CallExternOp : Launch_Op<"call_extern", [AttrSizedOperandSegments]> {
  let summary = "runs a kernel that the host registers under a name";
  let description = [{
    The last `outputs` buffers are written. `dims` are the extents that the signature names, `scalars` its parameters as raw 64-bit words.
  }];
  let arguments = (ins
    StrAttr:$name, StrAttr:$signature, Variadic<AnyMemRef>:$buffers, I64Attr:$outputs, Variadic<I64>:$dims, DenseI64ArrayAttr:$scalars
  );
  let assemblyFormat = [{
    $name $signature `(` $buffers `)` `outputs` $outputs `dims` `(` $dims `)` `scalars` $scalars attr-dict `:` type($buffers)
  }];
}

def Launch_CheckOp : Launch_Op<"check"> {
  let summary = "stops the run unless lhs[i] is equal to (eq) or at most (le) rhs[i]";
  let arguments = (ins AffineMapAttr:$lhs, StrAttr:$relation, AffineMapAttr:$rhs, StrAttr:$message);
  let assemblyFormat = "$lhs $relation $rhs $message attr-dict";
}

def Launch_FailOp : Launch_Op<"fail"> {
  let summary = "stops the run with a message";
  let arguments = (ins StrAttr:$message);
  let assemblyFormat = "$message attr-dict";
}

#endif
