"""The test format of lit.cfg.py. It stands in a module because lit sends it to its worker processes."""
import lit.formats


class MlirTest(lit.formats.ShTest):
    """Elsewhere than in lit-tests/, a .mlir file without a RUN line is data (schedules, libraries), not a broken test."""

    def getTestsForPath(self, testSuite, path_in_suite, litConfig, localConfig):
        for test in super().getTestsForPath(testSuite, path_in_suite, litConfig, localConfig):
            with open(test.getSourcePath(), encoding="utf-8") as file:
                if path_in_suite[0] == "lit-tests" or "RUN:" in file.read():
                    yield test
