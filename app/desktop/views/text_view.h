// text_view.h — Markdown as text: findings, notes, text artifacts. Links open nothing by themselves and no picture is
// loaded: the text may come from elsewhere.
#pragma once

#include <memory>

#include "app/desktop/views/view.h"

class QTextBrowser;

namespace microtome::desktop {

class TextView : public View {
  Q_OBJECT
 public:
  // More than this is cut, with a sentence that says so.
  static constexpr int kMostCharacters = 64000;

  explicit TextView(QWidget* parent = nullptr);
  void setMarkdown(const QString& text);
  void setPlain(const QString& text);
  // Shown, muted, while there is no text: what to do next.
  void setEmptyText(const QString& text);
  const QString& source() const { return source_; }
  QTextBrowser* browser() const { return browser_; }
  QList<Format> formats() const override { return {Format::kPng}; }
  // The whole text, not only what is scrolled to.
  void drawPicture(QPainter& painter, const QSizeF& size) const override;
  QSizeF pictureSize() const override;

 protected:
  void addActions(QMenu& menu) override;               // Copy text, Copy link, Select all
  void changeEvent(QEvent*) override;

 private:
  void take(const QString& text, bool plain);
  void fillDocument();
  QTextBrowser* browser_;
  QString source_;
  bool plain_ = false;
};

}  // namespace microtome::desktop
