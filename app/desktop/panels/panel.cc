#include "app/desktop/panels/panel.h"

#include <QShowEvent>
#include <algorithm>
#include <QTimer>
#include <QToolButton>

#include "app/desktop/panels/registry.h"
#include "app/desktop/session/session.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/view.h"
#include "core/base/status.h"

namespace microtome::desktop {

// The bar above a panel's content. Its colours are read when it is drawn, so that a change of theme reaches it.
class MessageBar : public QWidget {
 public:
  explicit MessageBar(QWidget* parent) : QWidget(parent) {
    auto* row = new QHBoxLayout(this);
    row->setContentsMargins(kGrid * 3 / 2, kGrid / 2, kGrid / 2, kGrid / 2);
    text = new QLabel(this);
    text->setWordWrap(true);
    text->setTextFormat(Qt::PlainText);
    text->setTextInteractionFlags(Qt::TextSelectableByMouse);
    close = new QToolButton(this);
    close->setText(QStringLiteral("✕"));
    close->setAutoRaise(true);
    close->setAccessibleName(QObject::tr("Close message"));
    row->addWidget(text, 1);
    row->addWidget(close, 0, Qt::AlignTop);
    hide();
  }
  QLabel* text;
  QToolButton* close;
  bool isError = false;

 protected:
  void paintEvent(QPaintEvent*) override {
    const Theme& t = Theme::of(this);
    QPainter p(this);
    p.fillRect(rect(), isError ? t.errorSoft : t.accentSoft);
    p.fillRect(QRect(0, 0, kGrid / 2, height()), isError ? t.error : t.accent);
  }
};

Panel::Panel(Session& session, const PanelInfo& info, QWidget* parent) : QWidget(parent), session_(session), info_(info) {
  setObjectName(QStringLiteral("panel_") + info.id);
  setAccessibleName(info.title);
  setAccessibleDescription(info.help);
  // The panel itself takes the focus when it comes to the front, so that its keys work before anything in it is clicked.
  setFocusPolicy(Qt::ClickFocus);
  auto* outer = new QVBoxLayout(this);
  outer->setContentsMargins(0, 0, 0, 0);
  outer->setSpacing(0);
  auto* bar = new MessageBar(this);
  bar_ = bar;
  barText_ = bar->text;
  connect(bar->close, &QToolButton::clicked, this, &Panel::clearBar);
  outer->addWidget(bar);
  auto* content = new QWidget(this);
  body_ = new QVBoxLayout(content);
  body_->setContentsMargins(kGrid, kGrid, kGrid, kGrid);
  body_->setSpacing(kGrid);
  outer->addWidget(content, 1);
}

void Panel::showProblem(const QString& sentence) {
  auto* bar = static_cast<MessageBar*>(bar_);
  bar->isError = true;
  barText_->setText(sentence);
  bar_->show();
  bar_->update();
}

void Panel::showNotice(const QString& sentence) {
  auto* bar = static_cast<MessageBar*>(bar_);
  bar->isError = false;
  barText_->setText(sentence);
  bar_->show();
  bar_->update();
}

void Panel::clearBar() { bar_->hide(); }

void Panel::adopt(View* view) {
  connect(view, &View::hoverText, this, &Panel::hoverText);
  connect(view, &View::noteWanted, this, &Panel::noteWanted);
  connect(view, &View::message, this, [this](const QString& text, bool isError) { isError ? showProblem(text) : showNotice(text); });
}

void Panel::scheduleRefresh() {
  stale_ = true;
  if (!isVisible() || scheduled_) return;
  scheduled_ = true;
  // Several changes in a row are one refresh.
  QTimer::singleShot(0, this, [this] {
    scheduled_ = false;
    if (!stale_ || !isVisible()) return;
    stale_ = false;
    refresh();
  });
}

void Panel::showEvent(QShowEvent* event) {
  QWidget::showEvent(event);
  if (stale_) scheduleRefresh();
}

EmptyState::EmptyState(const QString& headline, const QString& sentence, const QString& button, QWidget* parent) : QWidget(parent) {
  auto* column = new QVBoxLayout(this);
  column->setSpacing(kGrid);
  column->addStretch(2);
  headline_ = new QLabel(this);
  headline_->setProperty("role", QStringLiteral("headline"));
  headline_->setAlignment(Qt::AlignCenter);
  headline_->setWordWrap(true);
  headline_->setTextFormat(Qt::PlainText);
  sentence_ = new QLabel(this);
  sentence_->setProperty("role", QStringLiteral("muted"));
  sentence_->setAlignment(Qt::AlignCenter);
  sentence_->setWordWrap(true);
  sentence_->setTextFormat(Qt::PlainText);
  button_ = new QPushButton(this);
  button_->setProperty("primary", true);
  column->addWidget(headline_);
  column->addWidget(sentence_);
  column->addWidget(button_, 0, Qt::AlignCenter);
  column->addStretch(3);
  connect(button_, &QPushButton::clicked, this, &EmptyState::pressed);
  setText(headline, sentence, button);
}

void EmptyState::setText(const QString& headline, const QString& sentence, const QString& button) {
  headline_->setText(headline);
  sentence_->setText(sentence);
  button_->setText(button);
  button_->setVisible(!button.isEmpty());
}

}  // namespace microtome::desktop

namespace microtome::panels {

void Registry::add(desktop::PanelKind kind) {
  for (const desktop::PanelKind& k : kinds_)
    if (k.info.id == kind.info.id) throw Error(StatusCode::kInternal, "panel '" + kind.info.id.toStdString() + "' is registered twice");
  const auto before = [](const desktop::PanelKind& a, const desktop::PanelKind& b) {
    return std::pair(a.info.area, a.info.order) < std::pair(b.info.area, b.info.order);
  };
  kinds_.insert(std::upper_bound(kinds_.begin(), kinds_.end(), kind, before), std::move(kind));
}

}  // namespace microtome::panels
