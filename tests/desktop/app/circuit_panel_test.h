// circuit_panel_test.h — what the tests of the Circuit panel share: made-up circuits in the project, and a meter whose answers are a
// formula over the edges that it is asked about.
#pragma once

#include <QComboBox>
#include <QLabel>
#include <QMenu>
#include <QPushButton>
#include <QSlider>
#include <QSpinBox>
#include <QTemporaryDir>
#include <QToolButton>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <mutex>

#include "app/desktop/panels/circuit/circuit_panel.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/chart_view.h"
#include "app/desktop/views/graph_canvas.h"
#include "core/io/circuit_file.h"
#include "tests/desktop/app/app_fixture.h"
#include "tests/desktop/views/graph_samples.h"

namespace microtome::desktop {

// f = Σ |score| inside over Σ |score| of all; the metric is 2 with no edge and 12 with all of them.
class MeterLog {
 public:
  std::mutex lock;
  std::condition_variable go;
  bool open = true;                                    // false: questions wait
  std::vector<std::pair<int64_t, std::vector<std::string>>> asked;   // edges, knocked out
  std::atomic<int> made{0}, inside{0}, mostInside{0};
  std::string problem;                                 // thrown instead of an answer
  double all = 1;

  void hold() {
    const std::lock_guard<std::mutex> guard(lock);
    open = false;
  }
  void release() {
    {
      const std::lock_guard<std::mutex> guard(lock);
      open = true;
    }
    go.notify_all();
  }
  size_t count() {
    const std::lock_guard<std::mutex> guard(lock);
    return asked.size();
  }
  static double faithfulness(const Circuit& c, const std::vector<std::string>& out, double all) {
    double sum = 0;
    for (const Circuit::Edge& e : c.edges) {
      const bool gone = std::any_of(out.begin(), out.end(), [&](const std::string& n) { return e.from == n || endOf(e.to).first == n; });
      if (e.in_graph && !gone && std::isfinite(e.score)) sum += std::abs(e.score);
    }
    return sum / all;
  }
};

class FakeMeter final : public app::CircuitMeter {
 public:
  explicit FakeMeter(std::shared_ptr<MeterLog> log) : log_(std::move(log)) { ++log_->made; }
  double whole() const override { return 12; }
  double empty() const override { return 2; }
  const std::string& metric() const override { return metric_; }
  std::vector<app::CircuitMeasure> measure(const std::vector<const Circuit*>& circuits, const std::vector<std::string>& out,
                                           Progress& progress) override {
    const int now = ++log_->inside;
    log_->mostInside = std::max(log_->mostInside.load(), now);
    struct Leave {
      MeterLog& log;
      ~Leave() { --log.inside; }
    } leave{*log_};
    std::vector<app::CircuitMeasure> answers;
    {
      std::unique_lock<std::mutex> guard(log_->lock);
      for (const Circuit* c : circuits) log_->asked.emplace_back(static_cast<int64_t>(c->edges.size()), out);
      while (!log_->open) {
        log_->go.wait_for(guard, std::chrono::milliseconds(5));
        progress.check();
      }
      if (!log_->problem.empty()) throw Error(StatusCode::kBadInput, log_->problem, "prompts", "type a corrupted prompt");
    }
    for (const Circuit* c : circuits) {
      app::CircuitMeasure m;
      m.faithfulness = MeterLog::faithfulness(*c, out, log_->all);
      m.low = m.faithfulness - 0.02;
      m.high = m.faithfulness + 0.03;
      m.metric = 2 + 10 * m.faithfulness;
      m.edges = static_cast<int64_t>(c->edges.size());
      m.nodes = static_cast<int64_t>(c->nodes.size());
      answers.push_back(m);
    }
    return answers;
  }

 private:
  std::shared_ptr<MeterLog> log_;
  std::string metric_ = "logit_diff";
};

class CircuitPanelTest : public AppTest {
 protected:
  void TearDown() override {
    log_->release();
    panel_.reset();
    AppTest::TearDown();
  }
  // Every edge of a model of 4 layers of 4 heads, of which the analysis kept those of |score| above `kept` (0: all).
  static Circuit sample(double kept = 0.05, int layers = 4, int heads = 4) {
    Circuit c = fullCircuit(layers, heads);
    c.name = "circuit";
    c.title = "Edges by a made-up score";
    c.n_layers = layers;
    c.n_heads = heads;
    for (Circuit::Edge& e : c.edges) e.in_graph = std::abs(e.score) > kept;
    return c;
  }
  // A finished run in the project, as an analysis leaves it.
  qint64 storeCircuit(const Circuit& circuit, int slot = 0, const std::string& analysis = "made_up", std::vector<Artifact> more = {},
                      const std::string& prompts = {}) {
    RunSpec spec;
    spec.analysis = analysis;
    spec.answer_params["metric"] = "logit_diff";
    spec.answer_params["number"] = std::to_string(++number_);
    const app::ModelFacts& facts = session_->model(slot)->facts();
    spec.model_path = facts.folder;
    spec.model_name = facts.name;
    spec.weights_hash = "w" + std::to_string(slot);
    spec.dataset_hash = prompts.empty() ? session_->prompts().bySlot[slot]->hash() : prompts;
    spec.dataset_name = "ioi";
    spec.command = "microtome run " + analysis + " --model M";
    AnalysisResult result;
    result.findings.push_back("made up");
    for (Artifact& a : more) result.artifacts.push_back(std::move(a));
    result.artifacts.push_back(circuit);
    qint64 id = 0;
    bool told = false;
    session_->post(
        QStringLiteral("test"), QStringLiteral("store"), session_.get(),
        [store = session_->store(), spec, result](Progress&) {
          const RunRecord r = store->begin_run(spec, make_run_key(spec), "Made-up circuit").value();
          const int64_t attempt = store->begin_attempt(r.id, "cpu", "{\"microtome\": \"0.1.0\"}").value();
          if (Status s = store->finish_run(r.id, result); !s) throw Error(s);
          if (Status s = store->end_attempt(attempt, 1.5, "", "[]"); !s) throw Error(s);
          return r.id;
        },
        [&](const Result<int64_t>& made) {
          id = made ? made.value() : 0;
          told = true;
        });
    EXPECT_TRUE(waitUntil([&] { return told; }));
    // It was written past the session, which looks again after any edit of a run.
    bool seen = false;
    session_->post(QStringLiteral("test"), QStringLiteral("store"), session_.get(), [store = session_->store(), id](Progress&) { (void)store->set_note(id, "made up"); },
                   [&](const Status&) { seen = true; });
    EXPECT_TRUE(waitUntil([&] { return seen; }));
    if (!session_->runs().empty()) session_->setNote(session_->runs().front().id, QStringLiteral("look again %1").arg(number_));
    else reopen();
    EXPECT_TRUE(waitUntil([&] { return session_->findRun(id) != nullptr; }));
    EXPECT_TRUE(settle());
    return id;
  }
  // The project again from its file, by way of another one.
  void reopen() {
    const QString path = session_->projectPath();
    session_->openProject(folder_.filePath(QStringLiteral("other.microtome")));
    EXPECT_TRUE(waitUntil([&] { return session_->projectPath() != path; }));
    session_->openProject(path);
    EXPECT_TRUE(waitUntil([&] { return session_->projectPath() == path && session_->store(); }));
  }
  void open(const QSize& size = QSize(900, 620), bool fake = true) {
    panel_.reset(static_cast<CircuitPanel*>(makePanel("circuit", size)));
    ASSERT_TRUE(panel_);
    panel_->activateWindow();
    ASSERT_TRUE(QTest::qWaitForWindowExposed(panel_.get()));
    if (fake) panel_->setMeterFactory([log = log_](const app::OpenModel&, const Dataset&, const app::CircuitMeterOptions&) { return std::make_unique<FakeMeter>(log); });
    QTest::qWait(60);
  }
  // With a circuit and its numbers.
  void openShown(int slots = 1, const QSize& size = QSize(900, 620)) {
    open(size);
    for (int slot = 0; slot < slots; ++slot)
      ASSERT_TRUE(waitUntil([&] { return column(slot)->hasCircuit(); })) << problems_.join(QLatin1Char('\n')).toStdString();
    ASSERT_TRUE(waitUntil([&] { return text("circuit_measure_0").contains(QStringLiteral(" (")) && text("circuit_measure_0").contains(QStringLiteral(" of 12,")); }))
        << text("circuit_measure_0").toStdString();
    ASSERT_TRUE(settle());
  }
  void settleGraph(int slot = 0) {
    auto* canvas = graph(slot)->findChild<GraphCanvas*>();
    ASSERT_TRUE(waitUntil([&] { return canvas->edgesSettled(); }, 20000));
    QTest::qWait(100);
  }
  CircuitColumn* column(int slot) const { return panel_->findChild<CircuitColumn*>(QStringLiteral("circuit_%1").arg(slot)); }
  GraphView* graph(int slot = 0) const { return column(slot)->graph(); }
  QString text(const char* name) const { return panel_->findChild<QLabel*>(QString::fromLatin1(name))->text(); }
  QSlider* slider() const { return panel_->findChild<QSlider*>(QStringLiteral("circuit_slider")); }
  QSpinBox* spin() const { return panel_->findChild<QSpinBox*>(QStringLiteral("circuit_count")); }
  ChartView* curve() const { return panel_->findChild<ChartView*>(QStringLiteral("circuit_curve")); }
  QToolButton* tool(const char* name) const { return panel_->findChild<QToolButton*>(QString::fromLatin1(name)); }
  void clickNode(const char* name, int slot = 0) {
    auto* canvas = graph(slot)->findChild<GraphCanvas*>();
    const QPointF at = graph(slot)->nodePosition(nodeNamed(graph(slot)->graph(), name));
    QTest::mouseClick(canvas->viewport(), Qt::LeftButton, {}, canvas->viewport()->mapFrom(graph(slot), at.toPoint()));
  }
  void key(int key, Qt::KeyboardModifiers keys = {}, int slot = 0) { QTest::keyClick(graph(slot)->findChild<GraphCanvas*>(), static_cast<Qt::Key>(key), keys); }
  static double sum(const Circuit& c) {
    double out = 0;
    for (const Circuit::Edge& e : c.edges) out += std::abs(e.score);
    return out;
  }
  // Pruned the slow way: of the n strongest edges, those at nodes that nothing leads to or that lead nowhere go, until none does.
  static std::vector<char> prunedByHand(const Circuit& c, int64_t n) {
    std::vector<size_t> order(c.edges.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return std::abs(c.edges[a].score) > std::abs(c.edges[b].score); });
    std::vector<char> in(c.edges.size(), 0);
    for (size_t i = 0; i < order.size() && static_cast<int64_t>(i) < n; ++i) in[order[i]] = 1;
    for (bool again = true; again;) {
      again = false;
      std::set<std::string> reads, writes;
      for (size_t i = 0; i < in.size(); ++i) {
        if (!in[i]) continue;
        writes.insert(c.edges[i].from);
        reads.insert(c.edges[i].to.substr(0, c.edges[i].to.find('<')));
      }
      for (size_t i = 0; i < in.size(); ++i) {
        if (!in[i]) continue;
        const std::string to = c.edges[i].to.substr(0, c.edges[i].to.find('<'));
        if ((c.edges[i].from != "input" && !reads.count(c.edges[i].from)) || (to != "logits" && !writes.count(to))) {
          in[i] = 0;
          again = true;
        }
      }
    }
    return in;
  }
  static Circuit keptOf(const Circuit& c, const std::vector<char>& in) {
    Circuit out = c;
    for (size_t i = 0; i < in.size(); ++i) out.edges[i].in_graph = in[i] != 0;
    return out;
  }
  static int64_t countOf(const std::vector<char>& in) { return std::count(in.begin(), in.end(), char{1}); }
  static QString two(double f) { return QString::number(f, 'f', 2); }

  std::unique_ptr<CircuitPanel> panel_;
  std::shared_ptr<MeterLog> log_ = std::make_shared<MeterLog>();
  int number_ = 0;
};

}  // namespace microtome::desktop
