#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/atomic_file.h"
#include "core/base/json.h"
#include "tests/unit/base/temp_folder.h"

namespace microtome {
namespace {

using testing::slurp;
using testing::TempFolder;

// A disk that is full after `bytes`: writes beyond fail instead of killing the process.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    old_handler_ = ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit now{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    ::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int) = nullptr;
};

TEST(AtomicFile, WritesAndReplaces) {
  const TempFolder folder;
  const std::string path = folder / "out.txt";
  ASSERT_TRUE(write_text_file(path, "one"));
  EXPECT_EQ(slurp(path), "one");
  ASSERT_TRUE(write_text_file(path, "three"));
  EXPECT_EQ(slurp(path), "three");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(AtomicFile, AFullDiskLeavesTheOldFileAndNoTemporary) {
  const TempFolder folder;
  const std::string path = folder / "out.txt";
  ASSERT_TRUE(write_text_file(path, "old"));
  Status status;
  {
    const FileSizeLimit limit(1000);
    status = write_text_file(path, std::string(100000, 'x'));
  }
  EXPECT_EQ(status.code(), StatusCode::kFailed);
  EXPECT_EQ(status.exit_code(), 1);
  EXPECT_NE(status.text().find("out.txt"), std::string::npos);
  EXPECT_EQ(slurp(path), "old");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(AtomicFile, AFullDeviceIsAFailure) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full here";
  EXPECT_EQ(write_text_file("/dev/full", "x").code(), StatusCode::kFailed);
}

TEST(AtomicFile, ADeviceIsWrittenNotReplaced) {
  ASSERT_TRUE(write_text_file("/dev/null", "x"));
  struct stat info {};
  ASSERT_EQ(::stat("/dev/null", &info), 0);
  EXPECT_TRUE(S_ISCHR(info.st_mode));
}

TEST(AtomicFile, WithoutCommitNothingChanges) {
  const TempFolder folder;
  const std::string path = folder.put("out.txt", "old");
  {
    Result<AtomicFile> file = AtomicFile::create(path);
    ASSERT_TRUE(file.is_ok());
    ASSERT_TRUE(file->write("new", 3));
    EXPECT_EQ(folder.entries(), 2u);
    EXPECT_EQ(slurp(path), "old");
  }
  EXPECT_EQ(slurp(path), "old");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(AtomicFile, ErrorsSayWhatIsWrong) {
  const TempFolder folder;
  EXPECT_EQ(write_text_file(folder / "no/such/folder.txt", "x").code(), StatusCode::kNotFound);
  EXPECT_EQ(write_text_file(folder.str(), "x").code(), StatusCode::kBadInput);
  const std::string file = folder.put("file", "x");
  EXPECT_EQ(write_text_file(file + "/below", "x").code(), StatusCode::kBadInput);
}

TEST(AtomicFile, KeepsPermissionsAndWritesThroughALink) {
  const TempFolder folder;
  const std::string path = folder.put("real.txt", "old");
  ASSERT_EQ(::chmod(path.c_str(), 0640), 0);
  std::filesystem::create_symlink("real.txt", folder / "link.txt");
  ASSERT_TRUE(write_text_file(folder / "link.txt", "new"));
  EXPECT_EQ(slurp(path), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link.txt"));
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

}  // namespace
}  // namespace microtome
