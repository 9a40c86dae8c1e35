// A pass whose body is a Rust callback, with textual options, in MLIR's global pass registry.
#include "mlir/CAPI/IR.h"
#include "mlir/CAPI/Pass.h"
#include "mlir/CAPI/Registration.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;

extern "C" {
struct WinzePassOption {
  MlirStringRef name, description, defaultValue;
};

// Everything here lives as long as the process.
struct WinzePassDescription {
  MlirTypeID id;
  MlirStringRef name, argument, description;
  MlirStringRef anchor; // operation the pass runs on; empty = any
  size_t dialectCount;
  const MlirDialectHandle *dialects;
  size_t optionCount;
  const WinzePassOption *options;
  bool (*validate)(const MlirStringRef *values, size_t count, MlirStringCallback report, void *userData);
  bool (*run)(MlirOperation op, const MlirStringRef *values, size_t count);
};
}

namespace {
struct RustPass : public Pass {
  explicit RustPass(const WinzePassDescription *d)
      : Pass(unwrap(d->id), d->anchor.length ? std::optional<StringRef>(unwrap(d->anchor)) : std::nullopt), description(d) {
    declareOptions();
  }
  RustPass(const RustPass &other) : Pass(other), description(other.description) {
    declareOptions();
    copyOptionValuesFrom(&other);
  }

  StringRef getName() const override { return unwrap(description->name); }
  StringRef getArgument() const override { return unwrap(description->argument); }
  StringRef getDescription() const override { return unwrap(description->description); }
  std::unique_ptr<Pass> clonePass() const override { return std::make_unique<RustPass>(*this); }

  void getDependentDialects(DialectRegistry &registry) const override {
    for (size_t i = 0; i < description->dialectCount; ++i)
      mlirDialectHandleInsertDialect(description->dialects[i], wrap(&registry));
  }

  bool canScheduleOn(RegisteredOperationName name) const override {
    return !description->anchor.length || name.getStringRef() == unwrap(description->anchor);
  }

  LogicalResult initializeOptions(StringRef text, function_ref<LogicalResult(const Twine &)> error) override {
    if (failed(Pass::initializeOptions(text, error)))
      return failure();
    std::string message;
    auto append = [](MlirStringRef s, void *m) { static_cast<std::string *>(m)->append(s.data, s.length); };
    auto v = values();
    if (description->validate(v.data(), v.size(), append, &message))
      return success();
    return error(message);
  }

  void runOnOperation() override {
    auto v = values();
    if (!description->run(wrap(getOperation()), v.data(), v.size()))
      signalPassFailure();
  }

private:
  const WinzePassDescription *description;
  std::vector<std::unique_ptr<Pass::Option<std::string>>> options;

  void declareOptions() {
    for (size_t i = 0; i < description->optionCount; ++i) {
      const WinzePassOption &o = description->options[i];
      options.push_back(std::make_unique<Pass::Option<std::string>>(
          *this, unwrap(o.name), llvm::cl::desc(unwrap(o.description)), llvm::cl::init(unwrap(o.defaultValue).str())));
    }
  }

  std::vector<MlirStringRef> values() const {
    std::vector<MlirStringRef> v;
    for (auto &o : options)
      v.push_back(wrap(StringRef(o->getValue())));
    return v;
  }
};
} // namespace

extern "C" void winzeRegisterPass(const WinzePassDescription *d) {
  registerPass([d] { return std::make_unique<RustPass>(d); });
}
