// Loop transformations that the C API lacks.
#include "mlir/CAPI/IR.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Utils/Utils.h"

using namespace mlir;

extern "C" {
// The loop may be gone afterwards: one of a single turn becomes its body.
bool winzeUnrollLoop(MlirOperation loop, uint64_t factor) {
  auto forOp = dyn_cast<scf::ForOp>(unwrap(loop));
  return forOp && succeeded(loopUnrollByFactor(forOp, factor));
}
}
