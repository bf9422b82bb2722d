// Several processes at one project: one writer, many readers, and writers that die.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/rng.h"
#include "store_fixture.h"

namespace microtome {
namespace {

using Mode = ResultStore::Mode;

// A child process with a pipe to say how far it is. The body ends in _exit or is killed.
template <class F>
pid_t spawn(int* from_child, F&& body) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    body(ends[1]);
    ::_exit(0);
  }
  ::close(ends[1]);
  *from_child = ends[0];
  return child;
}

int exit_code_of(pid_t child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

TEST_F(StoreTest, ASecondWriterIsToldWhoHoldsTheProject) {
  auto store = open();
  Status here = ResultStore::open(project_, Mode::kReadWrite).status();
  EXPECT_EQ(here.code(), StatusCode::kBusy);
  EXPECT_NE(here.text().find("process " + std::to_string(::getpid())), std::string::npos) << here.text();

  int pipe;
  pid_t child = spawn(&pipe, [&](int) {
    Status s = ResultStore::open(project_, Mode::kReadWrite).status();
    ::_exit(s.code() == StatusCode::kBusy && s.text().find(std::to_string(::getppid())) != std::string::npos ? 0 : 1);
  });
  EXPECT_EQ(exit_code_of(child), 0);
  ::close(pipe);
  store.reset();
  EXPECT_FALSE(std::filesystem::exists(project_ + ".lock"));
  EXPECT_TRUE(open());
}

TEST_F(StoreTest, AnotherNameOfTheSameProjectIsTheSameProject) {
  auto store = open();
  std::string alias = folder_ + "/alias.microtome";
  std::filesystem::create_symlink(project_, alias);
  EXPECT_EQ(ResultStore::open(alias, Mode::kReadWrite).status().code(), StatusCode::kBusy);
  EXPECT_EQ(ResultStore::open(folder_ + "/./work.microtome", Mode::kReadWrite).status().code(), StatusCode::kBusy);
  int64_t run = new_run(*store);
  ASSERT_TRUE(store->put_item(run, 0, {big_array("x", 0)}).is_ok());
  auto reader = ResultStore::open(alias, Mode::kReadOnly);
  ASSERT_TRUE(reader.is_ok()) << reader.status().text();
  EXPECT_TRUE((*reader)->item(run, 0).is_ok());
}

TEST_F(StoreTest, ALockFileLeftByADeadProcessIsNoObstacle) {
  write_all(project_ + ".lock", "999999 elsewhere\n");
  EXPECT_TRUE(open());
  write_all(project_ + ".lock", std::string(100000, 'x'));
  EXPECT_TRUE(open());
}

TEST_F(StoreTest, ALockThatIsALinkIsNotFollowed) {
  std::string victim = folder_ + "/victim";
  write_all(victim, "precious");
  std::filesystem::create_symlink(victim, project_ + ".lock");
  EXPECT_FALSE(ResultStore::open(project_, Mode::kReadWrite).is_ok());
  EXPECT_EQ(read_all(victim), "precious");
}

TEST_F(StoreTest, ReadersSeeWhatIsCommittedWhileAnotherProcessWrites) {
  int64_t run;
  auto store = open();
  run = new_run(*store);
  ASSERT_TRUE(store->put_item(run, 0, {array_of<float>("x", {1}, {1})}).is_ok());
  EXPECT_GT(std::filesystem::file_size(project_ + "-wal"), 0u) << "the log is live";
  auto reader = open(Mode::kReadOnly);
  EXPECT_EQ(reader->items_done(run)->size(), 1u);
  ASSERT_TRUE(store->put_item(run, 1, {array_of<float>("x", {1}, {2})}).is_ok());
  EXPECT_EQ(reader->items_done(run)->size(), 2u) << "a reader sees what came later";

  int pipe;
  pid_t child = spawn(&pipe, [&](int) {
    auto r = ResultStore::open(project_, Mode::kReadOnly);
    ::_exit(r.is_ok() && (*r)->items_done(run)->size() == 2 ? 0 : 1);
  });
  EXPECT_EQ(exit_code_of(child), 0);
  ::close(pipe);

  EXPECT_EQ(reader->put_item(run, 2, {}).code(), StatusCode::kFailed);
  EXPECT_EQ(reader->delete_run(run).code(), StatusCode::kFailed);
  EXPECT_EQ(reader->gc(false).status().code(), StatusCode::kFailed);
  EXPECT_TRUE(reader->gc(true).is_ok());
  RunSpec known = sample_spec(), unknown = sample_spec(77);
  EXPECT_EQ(reader->begin_run(known, make_run_key(known), "")->id, run) << "what exists can be looked up";
  EXPECT_EQ(reader->begin_run(unknown, make_run_key(unknown), "").status().code(), StatusCode::kFailed);
}

TEST_F(StoreTest, AProjectOnReadOnlyMediaCanBeRead) {
  int64_t run;
  {
    auto store = open();
    run = new_run(*store);
    ASSERT_TRUE(store->put_item(run, 0, {array_of<float>("x", {1}, {1})}).is_ok());
  }
  if (::geteuid() == 0) {
    // For root no folder is read-only; another user's eyes are needed.
    ::chmod(folder_.c_str(), 0555);
    ::chmod(project_.c_str(), 0444);
    int pipe;
    pid_t child = spawn(&pipe, [&](int) {
      if (::setuid(65534) != 0) ::_exit(0);
      auto r = ResultStore::open(project_, Mode::kReadOnly);
      ::_exit(r.is_ok() && (*r)->items_done(run)->size() == 1 ? 0 : 1);
    });
    EXPECT_EQ(exit_code_of(child), 0);
    ::close(pipe);
    ::chmod(folder_.c_str(), 0755);
  } else {
    ::chmod(folder_.c_str(), 0555);
    auto reader = ResultStore::open(project_, Mode::kReadOnly);
    ::chmod(folder_.c_str(), 0755);
    ASSERT_TRUE(reader.is_ok()) << reader.status().text();
    EXPECT_EQ((*reader)->items_done(run)->size(), 1u);
  }
}

// The child says which items were committed; whatever instant it dies at, those are there, whole, and at most the one
// it was at besides.
TEST_F(StoreTest, AKilledWriterLosesNothingThatWasCommitted) {
  auto item_of = [](int64_t i) {
    return i % 3 == 2 ? std::vector<NamedArray>{big_array("x", static_cast<float>(i))}
                      : std::vector<NamedArray>{array_of<double>("x", {2}, {static_cast<double>(i), NAN})};
  };
  Rng rng(31);
  int64_t done_before = 0;
  for (int round = 0; round < 8; ++round) {
    int pipe;
    pid_t child = spawn(&pipe, [&](int out) {
      auto store = ResultStore::open(project_, Mode::kReadWrite);
      if (!store.is_ok()) ::_exit(1);
      RunSpec spec = sample_spec();
      int64_t run = (*store)->begin_run(spec, make_run_key(spec), "")->id;
      if (!(*store)->begin_attempt(run, "cpu", "{}").is_ok()) ::_exit(2);
      for (int64_t i = static_cast<int64_t>((*store)->items_done(run)->size());; ++i) {
        if (!(*store)->put_item(run, i, item_of(i)).is_ok()) ::_exit(3);
        if (::write(out, "x", 1) != 1) ::_exit(4);
      }
    });
    int64_t told = 0, wanted = static_cast<int64_t>(1 + rng.below(12));
    char c;
    while (told < wanted && ::read(pipe, &c, 1) == 1) ++told;
    ::usleep(static_cast<useconds_t>(rng.below(3000)));
    ::kill(child, SIGKILL);
    ASSERT_EQ(exit_code_of(child), 1000 + SIGKILL);
    while (::read(pipe, &c, 1) == 1) ++told;
    ::close(pipe);
    ASSERT_GE(told, wanted);

    auto store = open();
    ASSERT_TRUE(store) << "the dead process's lock is gone";
    auto done = *store->items_done(1);
    int64_t n = static_cast<int64_t>(done.size());
    EXPECT_GE(n, done_before + told);
    EXPECT_LE(n, done_before + told + 1);
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_EQ(done[static_cast<size_t>(i)], i);
      auto back = store->item(1, i);
      ASSERT_TRUE(back.is_ok()) << back.status().text();
      ASSERT_TRUE(same_bits(**back, item_of(i))) << "item " << i;
    }
    RunRecord r = *store->find_run("1");
    EXPECT_EQ(r.state, RunStatus::kPartial);
    EXPECT_EQ(r.items_done, n);
    EXPECT_EQ(store->attempts(1)->size(), static_cast<size_t>(round) + 1);
    done_before = n;
  }
  auto store = open();
  EXPECT_TRUE(store->gc(false).is_ok());
  for (int64_t i = 0; i < done_before; ++i) EXPECT_TRUE(store->item(1, i).is_ok()) << "and gc takes nothing needed";
  EXPECT_EQ(tensor_files().size(), static_cast<size_t>(done_before / 3));
}

// Killed between an item and the result, or after it: the run is partial or done, never in between.
TEST_F(StoreTest, AWriterKilledWhileFinishingLeavesAllOrNothing) {
  AnalysisResult result;
  for (int i = 0; i < 30; ++i) result.artifacts.push_back(Text{"t" + std::to_string(i), "", std::string(20000, 'x')});
  result.artifacts.push_back(TensorMap{"m", "", {big_array("x", 0)}, {}, {}});
  Rng rng(6);
  int whole = 0, none = 0;
  for (int round = 0; round < 12; ++round) {
    int pipe;
    pid_t child = spawn(&pipe, [&](int out) {
      auto store = ResultStore::open(project_, Mode::kReadWrite);
      if (!store.is_ok()) ::_exit(1);
      RunSpec spec = sample_spec(static_cast<uint64_t>(round));
      int64_t run = (*store)->begin_run(spec, make_run_key(spec), "")->id;
      if (::write(out, "x", 1) != 1) ::_exit(4);
      (void)(*store)->finish_run(run, result);
      ::pause();
    });
    char c;
    ASSERT_EQ(::read(pipe, &c, 1), 1);
    ::usleep(static_cast<useconds_t>(rng.below(60000)));
    ::kill(child, SIGKILL);
    exit_code_of(child);
    ::close(pipe);
    auto store = open(Mode::kReadOnly);
    RunRecord r = store->runs()->back();
    auto back = store->result(r.id);
    if (r.state == RunStatus::kDone) {
      ASSERT_TRUE(back.is_ok()) << back.status().text();
      EXPECT_EQ(back->artifacts.size(), result.artifacts.size());
      ++whole;
    } else {
      EXPECT_EQ(r.state, RunStatus::kNew);
      EXPECT_EQ(back.status().code(), StatusCode::kNotFound);
      ++none;
    }
  }
  EXPECT_EQ(whole + none, 12);
}

}  // namespace
}  // namespace microtome
