// Dialect conversion for Rust: LLVM 22's C API has none of it.
#include "mlir/CAPI/IR.h"
#include "mlir/CAPI/Rewrite.h"
#include "mlir/CAPI/Support.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Func/Transforms/FuncConversions.h"
#include "mlir/Transforms/DialectConversion.h"

using namespace mlir;

// 0 = not handled, 1 = converted, 2 = error
using ConvertType = int (*)(void *, MlirType in, MlirType *out);
using IsLegal = bool (*)(void *, MlirOperation);
using Rewrite = bool (*)(void *, MlirOperation, intptr_t count, const MlirValue *operands, MlirRewriterBase, TypeConverter *);
using Drop = void (*)(void *);

namespace {
struct RustConversionPattern : ConversionPattern {
  RustConversionPattern(TypeConverter &types, StringRef root, unsigned benefit, MLIRContext *context, Rewrite rewrite,
                        void *user, Drop drop)
      : ConversionPattern(types, root, benefit, context), rewrite(rewrite), user(user), drop(drop) {}
  ~RustConversionPattern() override { drop(user); }

  LogicalResult matchAndRewrite(Operation *op, ArrayRef<Value> operands, ConversionPatternRewriter &rewriter) const override {
    SmallVector<MlirValue> values;
    for (Value operand : operands)
      values.push_back(wrap(operand));
    RewriterBase *base = &rewriter;
    auto *types = const_cast<TypeConverter *>(getTypeConverter());
    return success(rewrite(user, wrap(op), values.size(), values.data(), wrap(base), types));
  }

  Rewrite rewrite;
  void *user;
  Drop drop;
};
} // namespace

extern "C" {
TypeConverter *winzeTypeConverterCreate() {
  auto *types = new TypeConverter;
  types->addConversion([](Type type) { return type; });
  return types;
}

void winzeTypeConverterDestroy(TypeConverter *types) { delete types; }

void winzeTypeConverterAdd(TypeConverter *types, ConvertType convert, void *user) {
  types->addConversion([=](Type type) -> std::optional<Type> {
    MlirType out{nullptr};
    switch (convert(user, wrap(type), &out)) {
    case 0:
      return std::nullopt;
    case 1:
      return unwrap(out);
    default:
      return Type();
    }
  });
}

MlirType winzeTypeConverterConvert(TypeConverter *types, MlirType type) { return wrap(types->convertType(unwrap(type))); }

ConversionTarget *winzeTargetCreate(MlirContext context) { return new ConversionTarget(*unwrap(context)); }

void winzeTargetDestroy(ConversionTarget *target) { delete target; }

void winzeTargetLegalDialect(ConversionTarget *target, MlirStringRef name) { target->addLegalDialect(unwrap(name)); }

void winzeTargetIllegalDialect(ConversionTarget *target, MlirStringRef name) { target->addIllegalDialect(unwrap(name)); }

void winzeTargetLegalUnknown(ConversionTarget *target) {
  target->markUnknownOpDynamicallyLegal([](Operation *) { return true; });
}

void winzeTargetDynamicallyLegalOp(ConversionTarget *target, MlirContext context, MlirStringRef name, IsLegal legal, void *user) {
  target->addDynamicallyLegalOp(OperationName(unwrap(name), unwrap(context)),
                                [=](Operation *op) -> std::optional<bool> { return legal(user, wrap(op)); });
}

void winzeConversionAddPattern(MlirRewritePatternSet set, TypeConverter *types, MlirStringRef root, unsigned benefit,
                               MlirContext context, Rewrite rewrite, void *user, Drop drop) {
  unwrap(set)->add(
      std::make_unique<RustConversionPattern>(*types, unwrap(root), benefit, unwrap(context), rewrite, user, drop));
}

void winzeConversionAddFunctions(MlirRewritePatternSet set, TypeConverter *types, ConversionTarget *target) {
  populateFunctionOpInterfaceTypeConversionPattern<func::FuncOp>(*unwrap(set), *types);
  populateCallOpTypeConversionPattern(*unwrap(set), *types);
  populateReturnOpTypeConversionPattern(*unwrap(set), *types);
  target->addDynamicallyLegalOp<func::FuncOp>(
      [types](func::FuncOp f) { return types->isSignatureLegal(f.getFunctionType()) && types->isLegal(&f.getBody()); });
  target->addDynamicallyLegalOp<func::ReturnOp, func::CallOp>([types](Operation *op) { return types->isLegal(op); });
}

bool winzeApplyConversion(MlirOperation op, ConversionTarget *target, MlirFrozenRewritePatternSet patterns, bool full) {
  return succeeded(full ? applyFullConversion(unwrap(op), *target, *unwrap(patterns))
                        : applyPartialConversion(unwrap(op), *target, *unwrap(patterns)));
}
}
