//! Ops -> the hand-written-looking half of a dialect's C++: includes, registration, and hooks that call into Rust.

use crate::{camel_case, record::Op};
use std::fmt::Write;

const PROLOGUE: &str = r#"#include "mlir/Support/TypeID.h"

// MLIR knows a trait by the printed name of `Trait<Empty>`, where Empty is local to TypeID::get. clang prints the local type as `Empty`, g++ with
// its whole scope, so traits of a dialect that g++ compiles would be strangers to a libMLIR that clang compiled.
#if defined(__GNUC__) && !defined(__clang__)
#include <string>
namespace mlir::detail {
template <template <typename> class Trait, typename Dummy>
class TypeIDResolver<Trait<Dummy>, std::enable_if_t<std::is_empty_v<Dummy> && !InlineTypeIDResolver::has_resolve_typeid<Trait<Dummy>>::value>>
    : public FallbackTypeIDResolver {
public:
  static TypeID resolveTypeID() {
    static const std::string name = [] {
      std::string printed = llvm::getTypeName<Trait<Dummy>>().str();
      size_t local = printed.find("<mlir::TypeID::get<");
      return local == std::string::npos ? printed : printed.substr(0, local) + "<Empty>";
    }();
    static TypeID id = registerImplicitTypeID(name);
    return id;
  }
};
} // namespace mlir::detail
#endif

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/CAPI/IR.h"
#include "mlir/CAPI/Registration.h"
#include "mlir/CAPI/Rewrite.h"
#include "mlir/CAPI/Support.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "Dialect.h.inc"
#define GET_OP_CLASSES
#include "Ops.h.inc"
#include "Dialect.cpp.inc"
#define GET_OP_CLASSES
#include "Ops.cpp.inc"

extern "C" bool winze_rs_verify(MlirOperation);
extern "C" bool winze_rs_infer(MlirStringRef, MlirContext, MlirLocation, intptr_t, const MlirValue *, MlirAttribute,
                               void (*)(void *, MlirType), void *);
extern "C" void winze_rs_canonicalize(MlirStringRef, MlirRewritePatternSet, MlirContext);

// Properties arrive in Rust as one dictionary.
template <typename OpType>
static llvm::LogicalResult inferInRust(mlir::MLIRContext *context, std::optional<mlir::Location> location,
                                       mlir::ValueRange operands, mlir::DictionaryAttr attributes,
                                       mlir::OpaqueProperties properties, llvm::SmallVectorImpl<mlir::Type> &types) {
  mlir::Attribute dictionary = attributes;
  if constexpr (!std::is_same_v<typename OpType::Properties, mlir::EmptyProperties>)
    if (properties)
      dictionary = OpType::getPropertiesAsAttr(context, *properties.as<typename OpType::Properties *>());
  if (!dictionary)
    dictionary = mlir::DictionaryAttr::get(context);
  llvm::SmallVector<MlirValue> values;
  for (mlir::Value operand : operands)
    values.push_back(wrap(operand));
  auto push = [](void *out, MlirType type) { static_cast<llvm::SmallVectorImpl<mlir::Type> *>(out)->push_back(unwrap(type)); };
  return llvm::success(winze_rs_infer(wrap(OpType::getOperationName()), wrap(context),
                                      wrap(location ? *location : mlir::UnknownLoc::get(context)), values.size(),
                                      values.data(), wrap(dictionary), push, &types));
}
"#;

pub fn render(dialect: &str, ops: &[Op]) -> String {
    let class = camel_case(dialect) + "Dialect";
    let mut cpp = String::from(PROLOGUE);
    writeln!(
        cpp,
        "
void {dialect}::{class}::initialize() {{
  addOperations<
#define GET_OP_LIST
#include \"Ops.cpp.inc\"
      >();
}}
"
    )
    .expect("writing to a string");
    for op in ops {
        let name = format!("{dialect}::{}", op.class);
        if op.has_verifier {
            writeln!(cpp, "llvm::LogicalResult {name}::verify() {{ return llvm::success(winze_rs_verify(wrap(getOperation()))); }}")
                .expect("writing to a string");
        }
        if op.infers_types {
            writeln!(
                cpp,
                "llvm::LogicalResult {name}::inferReturnTypes(mlir::MLIRContext *c, std::optional<mlir::Location> l, mlir::ValueRange v, \
                 mlir::DictionaryAttr a, mlir::OpaqueProperties p, mlir::RegionRange, llvm::SmallVectorImpl<mlir::Type> &t) {{ \
                 return inferInRust<{name}>(c, l, v, a, p, t); }}"
            )
            .expect("writing to a string");
        }
        if op.has_canonicalizer {
            writeln!(
                cpp,
                "void {name}::getCanonicalizationPatterns(mlir::RewritePatternSet &s, mlir::MLIRContext *c) {{ \
                 winze_rs_canonicalize(wrap(getOperationName()), wrap(&s), wrap(c)); }}"
            )
            .expect("writing to a string");
        }
    }
    writeln!(
        cpp,
        "
extern \"C\" MlirDialectHandle mlirGetDialectHandle__{dialect}__();
MLIR_DEFINE_CAPI_DIALECT_REGISTRATION({}, {dialect}, {dialect}::{class})",
        camel_case(dialect)
    )
    .expect("writing to a string");
    cpp
}
