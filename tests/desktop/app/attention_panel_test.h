// attention_panel_test.h — what the tests of the attention panel share: its views by model, the stored run's numbers,
// places to click, prompts as typed.
#pragma once

#include <QFile>
#include <QLabel>
#include <QPushButton>
#include <cmath>

#include "app/desktop/panels/panel.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/heat_map_grid.h"
#include "app/desktop/views/token_strip.h"
#include "tests/desktop/app/app_fixture.h"

namespace microtome::desktop {

class AttentionPanelTest : public AppTest {
 protected:
  void SetUp() override {
    AppTest::SetUp();
    QObject::connect(session_.get(), &Session::runFinished,
                     [this](qint64, const QString& analysis, int slot, const RunViewPtr& run) {
                       if (analysis == QLatin1String("attention")) runs_[slot] = run;
                     });
  }
  void TearDown() override {
    panel_.reset();
    AppTest::TearDown();
  }
  void open(const QSize& size = QSize(760, 480)) {
    panel_.reset(makePanel("attention", size));
    ASSERT_TRUE(panel_);
  }
  QWidget* column(int slot) const { return panel_->findChild<QWidget*>(QStringLiteral("attention_%1").arg(slot)); }
  HeatMapGridView* grid(int slot = 0) const { return column(slot)->findChild<HeatMapGridView*>(); }
  HeatMapView* map(int slot = 0) const { return column(slot)->findChild<HeatMapView*>(); }
  TokenStrip* strip(int slot = 0) const { return column(slot)->findChild<TokenStrip*>(); }
  bool shown(int slot = 0) const { return grid(slot)->data().rows > 0 && map(slot)->data().rows > 0; }
  bool waitShown(bool both) {
    return waitUntil([&] { return shown(0) && (!both || shown(1)); });
  }
  // The run's own number.
  double stored(int slot, int64_t l, int64_t h, int64_t q, int64_t k) const {
    for (const Artifact& artifact : runs_[slot]->result.artifacts)
      if (const auto* m = std::get_if<TensorMap>(&artifact))
        for (const NamedArray& a : m->arrays)
          if (a.name == "pattern") return a.at(((l * a.shape[1] + h) * a.shape[3] + q) * a.shape[4] + k);
    return std::nan("");
  }
  double tableNumber(int slot, int64_t l, int64_t h, const char* name) const {
    for (const Artifact& artifact : runs_[slot]->result.artifacts) {
      const auto* t = std::get_if<Table>(&artifact);
      if (!t || t->name != "heads") continue;
      for (const auto& row : t->rows)
        if (std::get<int64_t>(row[0]) == l && std::get<int64_t>(row[1]) == h)
          for (size_t c = 0; c < t->columns.size(); ++c)
            if (t->columns[c].name == name) return std::get<double>(row[c]);
    }
    return std::nan("");
  }
  // Middle of a head's little map, found as a person finds it: by what the grid says when the mouse is there.
  QPoint headAt(HeatMapGridView* g, int layer, int head) {
    QString said;
    const auto link = QObject::connect(g, &View::hoverText, [&](const QString& t) { said = t; });
    QPoint found(-1, -1);
    const QString wanted = QStringLiteral("layer %1 ").arg(layer), also = QStringLiteral("head %1:").arg(head);
    for (int y = 2; y < g->height() && found.x() < 0; y += 4)
      for (int x = 2; x < g->width() && found.x() < 0; x += 4) {
        QMouseEvent move(QEvent::MouseMove, QPointF(x, y), g->mapToGlobal(QPointF(x, y)), Qt::NoButton, {}, {});
        QApplication::sendEvent(g, &move);
        if (said.startsWith(wanted) && said.contains(also)) found = QPoint(x + 3, y + 3);
      }
    QObject::disconnect(link);
    return found;
  }
  QPoint cellAt(HeatMapView* m, int64_t row, int64_t col) const {
    const QRectF plot = m->plotRect(), seen = m->visibleCells();
    return QPointF(plot.left() + (static_cast<double>(col) + 0.5 - seen.left()) * plot.width() / seen.width(),
                   plot.top() + (static_cast<double>(row) + 0.5 - seen.top()) * plot.height() / seen.height())
        .toPoint();
  }
  QString empty(int slot = 0) const {
    QString text;
    for (QLabel* l : column(slot)->findChild<EmptyState*>()->findChildren<QLabel*>())
      if (l->isVisible()) text += l->text() + QLatin1Char('\n');
    return text;
  }
  QPushButton* emptyButton(int slot = 0) const {
    return column(slot)->findChild<EmptyState*>()->findChild<QPushButton*>();
  }
  // The shipped softmax model with a context of 4,096 tokens: a place for long prompts.
  QString longModel() {
    const QString to = folder_.filePath(QStringLiteral("long"));
    QDir().mkpath(to);
    const QDir from(models() + QStringLiteral("/zoo-llama"));
    for (const QString& name : from.entryList(QDir::Files)) QFile::copy(from.filePath(name), QDir(to).filePath(name));
    QFile config(QDir(to).filePath(QStringLiteral("config.json")));
    config.setPermissions(QFile::ReadOwner | QFile::WriteOwner);
    EXPECT_TRUE(config.open(QIODevice::ReadOnly));
    QByteArray text = config.readAll();
    config.close();
    text.replace("\"max_position_embeddings\": 256", "\"max_position_embeddings\": 4096");
    EXPECT_TRUE(text.contains("4096"));
    EXPECT_TRUE(config.open(QIODevice::WriteOnly | QIODevice::Truncate));
    config.write(text);
    return to;
  }
  void typePrompt(const QString& text) {
    PromptPair pair;
    pair.clean = text.toStdString();
    session_->setTyped(pair);
    ASSERT_TRUE(
        waitUntil([&] { return session_->currentPair(0) && session_->currentPair(0)->clean == pair.clean; }, 20000))
        << problems_.join(QLatin1Char('\n')).toStdString();
  }

  std::unique_ptr<Panel> panel_;
  RunViewPtr runs_[2];
};

}  // namespace microtome::desktop
