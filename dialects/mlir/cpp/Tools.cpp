// Driver entry points and the pass-manager features that the C API lacks.
#include "mlir/CAPI/IR.h"
#include "mlir/CAPI/Pass.h"
#include "mlir/CAPI/Support.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Pass/PassInstrumentation.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

using namespace mlir;

// when: 0 before, 1 after, 2 failed
using PassHook = void (*)(void *user, int when, MlirStringRef name, MlirStringRef argument, MlirOperation op);
using Drop = void (*)(void *);

namespace {
struct RustInstrumentation : PassInstrumentation {
  RustInstrumentation(PassHook hook, void *user, Drop drop) : hook(hook), user(user), drop(drop) {}
  ~RustInstrumentation() override { drop(user); }

  void runBeforePass(Pass *pass, Operation *op) override { call(0, pass, op); }
  void runAfterPass(Pass *pass, Operation *op) override { call(1, pass, op); }
  void runAfterPassFailed(Pass *pass, Operation *op) override { call(2, pass, op); }

private:
  void call(int when, Pass *pass, Operation *op) {
    hook(user, when, wrap(pass->getName()), wrap(pass->getArgument()), wrap(op));
  }

  PassHook hook;
  void *user;
  Drop drop;
};
} // namespace

extern "C" {
int winzeOptMain(int argc, char **argv, MlirStringRef toolName, MlirDialectRegistry registry) {
  return asMainReturnCode(MlirOptMain(argc, argv, unwrap(toolName), *unwrap(registry)));
}

int winzeLspMain(int argc, char **argv, MlirDialectRegistry registry) {
  return asMainReturnCode(MlirLspServerMain(argc, argv, *unwrap(registry)));
}

void winzePassManagerEnableCrashReproducer(MlirPassManager pm, MlirStringRef file, bool local) {
  unwrap(pm)->enableCrashReproducerGeneration(unwrap(file), local);
}

void winzePassManagerAddHook(MlirPassManager pm, PassHook hook, void *user, Drop drop) {
  unwrap(pm)->addInstrumentation(std::make_unique<RustInstrumentation>(hook, user, drop));
}

// severity: 0 error, 1 warning, 2 remark; one attached note when noteLocation is not null
void winzeEmit(MlirLocation location, int severity, MlirStringRef message, MlirLocation noteLocation, MlirStringRef note) {
  InFlightDiagnostic d = severity == 0   ? emitError(unwrap(location))
                         : severity == 1 ? emitWarning(unwrap(location))
                                         : emitRemark(unwrap(location));
  d << unwrap(message);
  if (noteLocation.ptr)
    d.attachNote(unwrap(noteLocation)) << unwrap(note);
}
}
