// LibTorch asks once for its CUDA half, at the first random number, say: where a GPU is tested it is opened before all tests, as the
// programs do.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "core/model/device.h"

namespace microtome {
namespace {

class OpenGpuFirst : public ::testing::Environment {
  void SetUp() override {
    const char* d = std::getenv("MICROTOME_TEST_DEVICE");
    if (d && std::string(d) != "cpu") parse_device(d);
  }
};

const auto* const environment = ::testing::AddGlobalTestEnvironment(new OpenGpuFirst);

}  // namespace
}  // namespace microtome
