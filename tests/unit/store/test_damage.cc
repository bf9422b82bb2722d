// Files that are no projects, projects of other versions, damaged ones, and disks that are full.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/rng.h"
#include "core/store/schema.h"
#include "core/store/sqlite_store.h"
#include "store_fixture.h"

namespace microtome {
namespace {

using Mode = ResultStore::Mode;

// Opens both ways, expects the code, and that neither the file nor its folder changed.
Status refused(const std::string& folder, const std::string& path, StatusCode code) {
  auto names = [&] {
    std::vector<std::string> out;
    for (const auto& e : std::filesystem::directory_iterator(folder)) out.push_back(e.path().filename().string());
    std::sort(out.begin(), out.end());
    return out;
  };
  auto before_names = names();
  std::string before = read_all(path);
  Status last;
  for (Mode mode : {Mode::kReadOnly, Mode::kReadWrite}) {
    auto store = ResultStore::open(path, mode);
    EXPECT_FALSE(store.is_ok());
    last = store.status();
    EXPECT_EQ(last.code(), code) << last.text();
    EXPECT_EQ(last.where(), path);
  }
  EXPECT_EQ(read_all(path), before);
  EXPECT_EQ(names(), before_names);
  return last;
}

void sql(const std::string& path, const std::string& text) {
  Database db(path, Database::Open::kReadWrite);
  db.keep_log(false);
  db.exec(text);
}

TEST_F(StoreTest, FilesThatAreNoProjectsAreRefusedAndLeftAlone) {
  Rng rng(8);
  for (const std::string& bytes : {std::string("hello"), std::string(4096, 'x'), std::string("SQLite format 3"),
                                   std::string("SQLite format 3\0", 16) + std::string(300, '\0'), std::string("{}")}) {
    write_all(project_, bytes);
    refused(folder_, project_, StatusCode::kBadInput);
  }
  std::filesystem::remove(project_);
  {
    Database other(project_, Database::Open::kCreate);
    other.exec("CREATE TABLE bookmarks (url TEXT); PRAGMA journal_mode=WAL");
  }
  EXPECT_NE(refused(folder_, project_, StatusCode::kBadInput).what().find("another program"), std::string::npos);
}

TEST_F(StoreTest, AFolderOrAPipeIsNoProject) {
  std::filesystem::create_directory(project_);
  EXPECT_EQ(ResultStore::open(project_, Mode::kReadWrite).status().code(), StatusCode::kBadInput);
  std::filesystem::remove(project_);
  ASSERT_EQ(::mkfifo(project_.c_str(), 0600), 0);
  EXPECT_EQ(ResultStore::open(project_, Mode::kReadOnly).status().code(), StatusCode::kBadInput);
  EXPECT_EQ(ResultStore::open("", Mode::kReadWrite).status().code(), StatusCode::kBadInput);
}

TEST_F(StoreTest, AnAbsentProjectIsNotFoundForReading) {
  Status s = ResultStore::open(project_, Mode::kReadOnly).status();
  EXPECT_EQ(s.code(), StatusCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(project_));
  s = ResultStore::open(folder_ + "/no/such/folder.microtome", Mode::kReadWrite).status();
  EXPECT_EQ(s.code(), StatusCode::kNotFound) << s.text();
}

TEST_F(StoreTest, AnEmptyFileBecomesAProjectWhenWritten) {
  write_all(project_, "");
  EXPECT_EQ(ResultStore::open(project_, Mode::kReadOnly).status().code(), StatusCode::kBadInput);
  auto store = open();
  ASSERT_TRUE(store);
  EXPECT_GT(new_run(*store), 0);
}

TEST_F(StoreTest, ANewerProjectIsUnsupportedNamingBothVersions) {
  open().reset();
  sql(project_, "PRAGMA user_version=7");
  std::string text = refused(folder_, project_, StatusCode::kUnsupported).text();
  EXPECT_NE(text.find("version 7"), std::string::npos) << text;
  EXPECT_NE(text.find("up to 4"), std::string::npos) << text;
}

TEST_F(StoreTest, ANewerVersionThatIsOnlyInTheLogIsSeen) {
  open().reset();
  {
    Database db(project_, Database::Open::kReadWrite);      // keeps its log when it closes
    db.exec("PRAGMA user_version=7");
  }
  std::string before = read_all(project_);
  for (Mode mode : {Mode::kReadOnly, Mode::kReadWrite}) {
    EXPECT_EQ(ResultStore::open(project_, mode).status().code(), StatusCode::kUnsupported);
  }
  EXPECT_EQ(read_all(project_), before);
}

TEST_F(StoreTest, MigrationsRunInOrderAndEachIsWholeOrAbsent) {
  const std::vector<Migration> steps = {{1, "001", "CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1);"},
                                        {2, "002", "ALTER TABLE a ADD COLUMN y INTEGER; UPDATE a SET y = x + 1;"},
                                        {3, "003", "CREATE TABLE b (z INTEGER); INSERT INTO nowhere VALUES (1);"}};
  create_project(project_, {steps[0]});
  Database db(project_, Database::Open::kReadWrite);
  EXPECT_EQ(check_project(db, 3), 1);
  EXPECT_THROW(migrate(db, 1, steps), Error);
  EXPECT_EQ(db.pragma_integer("user_version"), 2) << "at the last whole version";
  Statement y(db, "SELECT y FROM a");
  ASSERT_TRUE(y.step());
  EXPECT_EQ(y.integer(0), 2);
  EXPECT_THROW(Statement(db, "SELECT z FROM b"), Error) << "half of version 3 is not there";
}

TEST_F(StoreTest, TheBuiltInMigrationsAreNumberedWithoutHoles) {
  auto steps = embedded_migrations();
  ASSERT_FALSE(steps.empty());
  for (size_t i = 0; i < steps.size(); ++i) EXPECT_EQ(steps[i].version, static_cast<int64_t>(i) + 1);
}

TEST_F(StoreTest, AFailedCreationLeavesNothing) {
  EXPECT_THROW(create_project(project_, {{1, "001", "CREATE TABLE a (x); CREATE TABLE a (x);"}}), Error);
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(StoreTest, DamagedAndMissingTensorFilesAreNamed) {
  auto store = open();
  int64_t run = new_run(*store);
  ASSERT_TRUE(store->put_item(run, 4, {big_array("x", 0)}).is_ok());
  AnalysisResult result;
  result.artifacts.push_back(TensorMap{"maps", "", {big_array("effect", 9)}, {}, {}});
  ASSERT_TRUE(store->finish_run(run, result).is_ok());
  Rng rng(4);
  for (const std::string& file : tensor_files()) {
    std::string whole = read_all(file);
    for (int i = 0; i < 20; ++i) {
      std::string changed = whole;
      changed[rng.below(changed.size())] ^= static_cast<char>(1 << rng.below(8));
      write_all(file, changed);
      Status item = store->item(run, 4).status(), res = store->result(run).status();
      EXPECT_NE(item.is_ok(), res.is_ok()) << "exactly the one whose file it is";
      const Status& bad = item.is_ok() ? res : item;
      EXPECT_EQ(bad.code(), StatusCode::kBadInput);
      EXPECT_EQ(bad.where(), std::filesystem::canonical(file).string());
    }
    write_all(file, whole.substr(0, whole.size() / 2));
    EXPECT_FALSE(store->item(run, 4).is_ok() && store->result(run).is_ok()) << "truncated";
    std::filesystem::remove(file);
    Status item = store->item(run, 4).status(), res = store->result(run).status();
    const Status& bad = item.is_ok() ? res : item;
    EXPECT_NE(bad.text().find("missing"), std::string::npos) << bad.text();
    EXPECT_NE(bad.text().find(item.is_ok() ? "'effect'" : "item 4"), std::string::npos) << bad.text();
    std::filesystem::create_symlink("/dev/zero", file);
    EXPECT_FALSE(store->item(run, 4).is_ok() && store->result(run).is_ok());
    std::filesystem::remove(file);
    write_all(file, whole);
    EXPECT_TRUE(store->item(run, 4).is_ok() && store->result(run).is_ok()) << "and well again";
  }
}

TEST_F(StoreTest, ADamagedTensorFileIsWrittenAnew) {
  auto store = open();
  int64_t run = new_run(*store);
  ASSERT_TRUE(store->put_item(run, 0, {big_array("x", 0)}).is_ok());
  ASSERT_EQ(tensor_files().size(), 1u);
  std::string bytes = read_all(tensor_files()[0]);
  bytes[bytes.size() / 2] ^= 1;
  write_all(tensor_files()[0], bytes);
  ASSERT_FALSE(store->item(run, 0).is_ok());
  ASSERT_TRUE(store->put_item(run, 0, {big_array("x", 0)}).is_ok());
  EXPECT_TRUE(same_bits(**store->item(run, 0), {big_array("x", 0)}));
}

TEST_F(StoreTest, NoPathFromTheDatabaseIsFollowed) {
  int64_t run;
  {
    auto store = open();
    run = new_run(*store);
    ASSERT_TRUE(store->put_item(run, 0, {big_array("x", 0)}).is_ok());
  }
  std::string genuine = tensor_files()[0];
  std::string hash = std::filesystem::path(genuine).stem().string();
  std::filesystem::copy_file(genuine, folder_ + "/" + std::string(61, 'a') + ".safetensors");
  for (std::string name : {"../" + std::string(61, 'a'), std::string(64, 'A'), hash.substr(0, 63) + "/",
                           std::string(32, '.') + std::string(32, '/')}) {
    ASSERT_EQ(name.size(), 64u);
    sql(project_, "UPDATE items SET file = '" + name + "'");
    Status s = open(Mode::kReadOnly)->item(run, 0).status();
    EXPECT_EQ(s.code(), StatusCode::kBadInput) << name;
    EXPECT_NE(s.what().find("not a hash"), std::string::npos) << s.text();
  }
  sql(project_, "UPDATE items SET file = '" + hash + "'");
  EXPECT_TRUE(open(Mode::kReadOnly)->item(run, 0).is_ok());
}

TEST_F(StoreTest, AProjectWithAMissingTableSaysSo) {
  open().reset();
  sql(project_, "DROP TABLE attempts; DROP TABLE items");
  auto store = open();
  Status s = store->runs().status();
  EXPECT_EQ(s.code(), StatusCode::kBadInput);
  EXPECT_EQ(s.where(), std::filesystem::canonical(project_).string());
}

// A bit flipped anywhere in the project: every call gives an answer or a Status.
TEST_F(StoreTest, ADamagedProjectFileIsAnErrorAndNeverMore) {
  {
    auto store = open();
    for (uint64_t s = 0; s < 3; ++s) {
      int64_t run = new_run(*store, s);
      for (int i = 0; i < 5; ++i) ASSERT_TRUE(store->put_item(run, i, {array_of<float>("x", {2}, {1, 2})}).is_ok());
      AnalysisResult r;
      r.findings = {"fine"};
      r.artifacts.push_back(TensorMap{"m", "", {array_of<float>("x", {2}, {1, 2})}, {}, {}});
      ASSERT_TRUE(store->finish_run(run, r).is_ok());
    }
  }
  const std::string whole = read_all(project_);
  Rng rng(99);
  int errors = 0;
  for (int i = 0; i < 150; ++i) {
    std::string changed = whole;
    for (int k = 0; k < 40; ++k) changed[100 + rng.below(changed.size() - 100)] = static_cast<char>(rng.below(256));
    write_all(project_, changed);
    auto store = ResultStore::open(project_, Mode::kReadOnly);
    if (!store.is_ok()) {
      ++errors;
      continue;
    }
    errors += !(*store)->runs().is_ok();
    for (int64_t run = 1; run <= 3; ++run) {
      errors += !(*store)->result(run).is_ok();
      errors += !(*store)->item(run, 2).is_ok();
      errors += !(*store)->attempts(run).is_ok();
      errors += !(*store)->gc(true).is_ok();
    }
  }
  EXPECT_GT(errors, 0);
}

TEST_F(StoreTest, AFullDatabaseFailsAndLosesNothing) {
  auto store = open();
  int64_t run = new_run(*store);
  auto& db = static_cast<SqliteStore&>(*store).database();
  ASSERT_TRUE(store->put_item(run, 0, {big_array("x", 0, 8000)}).is_ok());
  int64_t limit = db.pragma_integer("page_count") + 20;
  db.pragma_integer("max_page_count=" + std::to_string(limit));
  int64_t committed = 1;
  Status s;
  while ((s = store->put_item(run, committed, {big_array("x", static_cast<float>(committed), 8000)})).is_ok()) {
    ASSERT_LT(++committed, 100);
  }
  EXPECT_EQ(s.code(), StatusCode::kFailed);
  EXPECT_NE(s.text().find("full"), std::string::npos) << s.text();
  AnalysisResult result;
  result.artifacts.push_back(Text{"t", "", std::string(200000, 'x')});
  EXPECT_EQ(store->finish_run(run, result).code(), StatusCode::kFailed);
  EXPECT_EQ(store->find_run("1")->state, RunStatus::kPartial) << "the result is there whole or not at all";
  EXPECT_EQ(store->result(run).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(static_cast<int64_t>(store->items_done(run)->size()), committed);

  db.pragma_integer("max_page_count=1000000");             // space again: it goes on
  EXPECT_TRUE(store->put_item(run, committed, {big_array("x", 1, 8000)}).is_ok());
  EXPECT_TRUE(store->finish_run(run, result).is_ok());
  store.reset();
  store = open();
  for (int64_t i = 0; i < committed; ++i) {
    EXPECT_TRUE(same_bits(**store->item(run, i), {big_array("x", static_cast<float>(i), 8000)})) << i;
  }
}

// A disk that takes no more, for the log and for tensor files alike: RLIMIT_FSIZE in a child.
TEST_F(StoreTest, AWriteThatTheSystemRefusesFailsAndLosesNothing) {
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    auto store = ResultStore::open(project_, Mode::kReadWrite);
    if (!store.is_ok()) ::_exit(10);
    RunSpec spec = sample_spec();
    int64_t run = (*store)->begin_run(spec, make_run_key(spec), "")->id;
    if (!(*store)->put_item(run, 0, {big_array("x", 0)}).is_ok()) ::_exit(11);
    if (!(*store)->put_item(run, 1, {array_of<float>("y", {1}, {1})}).is_ok()) ::_exit(12);
    rlimit small{4096, 4096};
    if (::setrlimit(RLIMIT_FSIZE, &small) != 0) ::_exit(13);
    Status file = (*store)->put_item(run, 2, {big_array("x", 1)});
    Status log = (*store)->put_item(run, 3, {array_of<float>("y", {1}, {2})});
    Status finish = (*store)->finish_run(run, {});
    if (file.code() != StatusCode::kFailed || log.code() != StatusCode::kFailed) ::_exit(14);
    if (finish.code() != StatusCode::kFailed) ::_exit(15);
    if (log.text().find("refuses to take more") == std::string::npos || log.todo().empty()) ::_exit(16);
    if (file.text().find(".safetensors") == std::string::npos || file.todo().empty()) ::_exit(18);
    if (*(*store)->items_done(run) != std::vector<int64_t>{0, 1}) ::_exit(17);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  auto store = open();
  EXPECT_EQ(*store->items_done(1), (std::vector<int64_t>{0, 1}));
  EXPECT_TRUE(same_bits(**store->item(1, 0), {big_array("x", 0)}));
  EXPECT_EQ(tensor_files().size(), 1u) << "no half-written tensor file";
  EXPECT_TRUE(store->put_item(1, 2, {big_array("x", 1)}).is_ok());
}

}  // namespace
}  // namespace microtome
