// The model panel as a person uses it: the tree against the model's facts, the filter, weights on demand, what is copied.
#include <QAbstractItemModelTester>
#include <QClipboard>
#include <QGuiApplication>
#include <QLineEdit>
#include <QPushButton>
#include <QTreeView>
#include <cmath>

#include "app/desktop/panels/model/model_tree.h"
#include "app/desktop/panels/panel.h"
#include "app/desktop/theme/theme.h"
#include "tests/desktop/app/app_fixture.h"

namespace microtome::desktop {
namespace {

using Kind = ModelTree::Kind;

struct ModelPanelTest : AppTest {
  void open(bool second = true, const QSize& size = QSize(280, 460)) {
    if (second) openTwins(4);
    else openTwins(4, false);
    panel_.reset(makePanel("model", size));
    ASSERT_TRUE(panel_);
    ASSERT_TRUE(QTest::qWaitForWindowExposed(panel_.get()));
    QTest::qWait(50);
    view_ = panel_->findChild<QTreeView*>();
    ASSERT_TRUE(view_);
    tree_ = panel_->findChild<ModelTree*>();
    ASSERT_TRUE(tree_);
    tester_ = std::make_unique<QAbstractItemModelTester>(tree_, QAbstractItemModelTester::FailureReportingMode::Fatal);
    shownTester_ =
        std::make_unique<QAbstractItemModelTester>(view_->model(), QAbstractItemModelTester::FailureReportingMode::Fatal);
  }
  void TearDown() override {
    shownTester_.reset();
    tester_.reset();
    panel_.reset();
    AppTest::TearDown();
  }
  // A row of the view by what it says; invalid: not there.
  QModelIndex find(const QString& text, const QModelIndex& below = {}) const {
    const QAbstractItemModel* m = view_->model();
    for (int r = 0; r < m->rowCount(below); ++r) {
      const QModelIndex i = m->index(r, 0, below);
      if (i.data().toString() == text) return i;
      if (const QModelIndex deeper = find(text, i); deeper.isValid()) return deeper;
    }
    return {};
  }
  int countKind(Kind kind, const QModelIndex& below = {}) const {
    const QAbstractItemModel* m = view_->model();
    int n = 0;
    for (int r = 0; r < m->rowCount(below); ++r) {
      const QModelIndex i = m->index(r, 0, below);
      n += (i.data(ModelTree::kKindRole).toInt() == static_cast<int>(kind)) + countKind(kind, i);
    }
    return n;
  }
  void click(const QModelIndex& i) {
    ASSERT_TRUE(i.isValid());
    view_->scrollTo(i);
    QTest::mouseClick(view_->viewport(), Qt::LeftButton, {}, view_->visualRect(i).center());
  }

  std::unique_ptr<Panel> panel_;
  QTreeView* view_ = nullptr;
  ModelTree* tree_ = nullptr;
  std::unique_ptr<QAbstractItemModelTester> tester_, shownTester_;
};

TEST_F(ModelPanelTest, NoModelOffersTheDemo) {
  panel_.reset(makePanel("model", QSize(280, 460)));
  auto* button = panel_->findChild<QPushButton*>();
  ASSERT_TRUE(button && button->isVisible());
  picture(panel_.get(), QStringLiteral("model_empty"));
}

TEST_F(ModelPanelTest, ShowsWhatTheModelsHold) {
  open();
  const QAbstractItemModel* m = view_->model();
  ASSERT_EQ(m->rowCount(), 2);
  int64_t hooks = 0;
  for (int slot = 0; slot < 2; ++slot) {
    const app::ModelFacts& f = session_->model(slot)->facts();
    EXPECT_EQ(m->index(slot, 0).data().toString().toStdString(), f.name);
    EXPECT_TRUE(view_->isExpanded(m->index(slot, 0)));
    hooks += static_cast<int64_t>(f.hooks.size());
    EXPECT_TRUE(find(exactCount(f.parameters), m->index(slot, 0)).isValid() ||
                find(QStringLiteral("parameters"), m->index(slot, 0)).data(ModelTree::kDetailRole).toString() ==
                    exactCount(f.parameters));
  }
  EXPECT_EQ(countKind(Kind::kHook), hooks);
  EXPECT_EQ(countKind(Kind::kBlock), 8);
  const QModelIndex softmax = find(QStringLiteral("Block 0"), m->index(0, 0)),
                    recurrent = find(QStringLiteral("Block 0"), m->index(1, 0));
  EXPECT_EQ(softmax.data(ModelTree::kAsideRole).toString(), QStringLiteral("softmax attention"));
  EXPECT_EQ(recurrent.data(ModelTree::kAsideRole).toString(), QStringLiteral("gated delta rule"));
  EXPECT_EQ(recurrent.data(ModelTree::kDetailRole).toString(), QStringLiteral("4 heads × 32"));
  EXPECT_EQ(find(QStringLiteral("attn.hook_q"), softmax).data(ModelTree::kDetailRole).toString(),
            QStringLiteral("batch · pos · 4 heads · 32"));
  picture(panel_.get(), QStringLiteral("model_twins"));
  view_->expand(find(QStringLiteral("Facts"), m->index(0, 0)));
  view_->expand(softmax);
  QTest::qWait(30);
  picture(panel_.get(), QStringLiteral("model_facts"));
}

TEST_F(ModelPanelTest, ClickingSelectsAndFollowsTheSelection) {
  open();
  const QModelIndex second = view_->model()->index(1, 0);
  click(find(QStringLiteral("Block 2"), second));
  Selection& s = session_->selection();
  EXPECT_EQ(s.model(), 1);
  EXPECT_EQ(s.layer(), 2);
  EXPECT_EQ(s.head(), -1);
  QTest::keyClick(view_, Qt::Key_Right);  // opens it
  QTest::keyClick(view_, Qt::Key_Down);  // its first hook point
  EXPECT_EQ(s.hookPoint().toStdString(), "blocks.2.hook_resid_pre");
  // From elsewhere.
  s.setModel(0);
  s.setHead(3, 1);
  EXPECT_EQ(view_->currentIndex().data(ModelTree::kNameRole).toString(), QStringLiteral("blocks.3"));
  EXPECT_EQ(view_->currentIndex().data(ModelTree::kSlotRole).toInt(), 0);
  EXPECT_EQ(s.head(), 1) << "following must not set the selection";
  s.setHookPoint(QStringLiteral("blocks.1.attn.hook_z"));
  EXPECT_EQ(view_->currentIndex().data(ModelTree::kNameRole).toString(), QStringLiteral("blocks.1.attn.hook_z"));
  EXPECT_EQ(s.layer(), 3);
}

TEST_F(ModelPanelTest, FilterKeepsMatchesOnly) {
  open();
  auto* search = panel_->findChild<QLineEdit*>();
  QTest::keyClicks(search, QStringLiteral("2 hook_z"));
  QTest::qWait(30);
  // Block 2 of both models; the twin also has the normalised one.
  EXPECT_EQ(countKind(Kind::kHook), 3);
  EXPECT_TRUE(find(QStringLiteral("attn.hook_z_normalized")).isValid());
  EXPECT_TRUE(view_->isExpanded(find(QStringLiteral("Block 2")))) << "matches are laid open";
  EXPECT_FALSE(tree_->hasWeights(0)) << "a filter reads no weights";
  picture(panel_.get(), QStringLiteral("model_filter"));
  QTest::keyClick(search, Qt::Key_Down);
  EXPECT_TRUE(view_->hasFocus());
  search->clear();
  EXPECT_EQ(countKind(Kind::kBlock), 8);
  EXPECT_FALSE(view_->isExpanded(find(QStringLiteral("Block 2"))));
}

TEST_F(ModelPanelTest, WeightsAreReadWhenOpened) {
  open(false);
  const QModelIndex weights = find(QStringLiteral("Weights"));
  click(weights);
  EXPECT_FALSE(tree_->hasWeights(0));
  QTest::keyClick(view_, Qt::Key_Right);
  ASSERT_TRUE(waitUntil([&] { return tree_->hasWeights(0); }));
  Progress progress;
  const std::vector<app::WeightFacts> truth = session_->engine()->weights(*session_->model(0), progress);
  EXPECT_EQ(countKind(Kind::kWeight), static_cast<int>(truth.size()));
  int64_t inBlock = 0;
  for (const app::WeightFacts& w : truth) {
    int64_t size = 1;
    for (int64_t d : w.shape) size *= d;
    if (w.name.rfind("blocks.1.", 0) == 0) inBlock += size;
    if (w.name != "blocks.1.attn.q_proj.weight") continue;
    const QModelIndex i =
        find(QStringLiteral("attn.q_proj"), find(QStringLiteral("Block 1"), find(QStringLiteral("Weights"))));
    ASSERT_TRUE(i.isValid());
    EXPECT_EQ(i.data(ModelTree::kDetailRole).toString(), QStringLiteral("128 × 128 · rms %1").arg(numberText(w.rms, 3)));
    EXPECT_TRUE(i.data(Qt::ToolTipRole).toString().contains(numberText(w.norm)));
    EXPECT_NEAR(w.norm, w.rms * 128, 1e-6 * w.norm);
  }
  EXPECT_GT(inBlock, 100000);
  EXPECT_EQ(find(QStringLiteral("Block 1")).data(ModelTree::kDetailRole).toString(),
            QStringLiteral("4 heads × 32 · %1 parameters").arg(shortCount(inBlock)));
  view_->expand(find(QStringLiteral("Block 0"), find(QStringLiteral("Weights"))));
  view_->scrollTo(find(QStringLiteral("Weights")), QAbstractItemView::PositionAtTop);
  QTest::qWait(30);
  picture(panel_.get(), QStringLiteral("model_weights"));
}

TEST_F(ModelPanelTest, CopiesNameAndCommand) {
  open(false);
  click(find(QStringLiteral("Block 1")));
  QTest::keyClick(view_, Qt::Key_C, Qt::ControlModifier);
  EXPECT_EQ(QGuiApplication::clipboard()->text(), QStringLiteral("blocks.1"));
  session_->selection().setHookPoint(QStringLiteral("blocks.1.attn.hook_pattern"));
  QTest::keyClick(view_, Qt::Key_C, Qt::ControlModifier | Qt::ShiftModifier);
  const QString command = QGuiApplication::clipboard()->text();
  EXPECT_TRUE(command.startsWith(QStringLiteral("microtome forward --model "))) << command.toStdString();
  EXPECT_TRUE(
      command.contains(QStringLiteral("--capture blocks.1.attn.hook_pattern --out blocks.1.attn.hook_pattern.safetensors")))
      << command.toStdString();
  EXPECT_TRUE(command.contains(shellWord(QString::fromStdString(session_->currentPair(0)->clean))))
      << command.toStdString();
}

TEST_F(ModelPanelTest, ModelsComeAndGo) {
  open();
  session_->closeModel(0);             // the second becomes the first
  ASSERT_TRUE(waitUntil([&] { return view_->model()->rowCount() == 1; }, 5000));
  EXPECT_EQ(view_->model()->index(0, 0).data().toString(), QStringLiteral("zoo-gated_deltanet"));
  session_->closeModel(0);
  ASSERT_TRUE(waitUntil([&] { return view_->model()->rowCount() == 0; }, 5000));
  EXPECT_TRUE(panel_->findChild<QPushButton*>()->isVisible());
}

TEST(ModelText, ShapesAndCounts) {
  app::LayerFacts l;
  l.heads = 8;
  l.kv_heads = 2;
  l.d_k = 64;
  l.d_v = 128;
  EXPECT_EQ(headsText(l), QStringLiteral("8 heads (2 key/value) × 64/128"));
  EXPECT_EQ(hookShape({"x", {"batch", "head", "q_pos", "k_pos"}, {-1, 4, -1, -1}, false, ""}),
            QStringLiteral("batch · 4 heads · q_pos · k_pos"));
  EXPECT_EQ(hookShape({"x", {"a"}, {}, false, ""}), QStringLiteral("a"));
  EXPECT_EQ(shortCount(1313920), QStringLiteral("1.31 M"));
  EXPECT_EQ(exactCount(1313920), QStringLiteral("1,313,920"));
}

}  // namespace
}  // namespace microtome::desktop
