(function () {
  "use strict";
  function age(ms) {
    var minutes = Math.round(ms / 60000);
    if (minutes < 1) { return "just now"; }
    if (minutes < 60) { return minutes + " min ago"; }
    var hours = Math.floor(minutes / 60);
    if (hours < 48) { return hours + " h ago"; }
    return Math.floor(hours / 24) + " d ago";
  }
  function tell() {
    var now = Date.now();
    document.querySelectorAll("time[data-epoch]").forEach(function (item) {
      var passed = now - Number(item.dataset.epoch);
      var place = item.parentNode.querySelector(".age");
      if (place && passed >= 0) { place.textContent = age(passed); place.hidden = false; }
      var note = document.getElementById("stale");
      if (note && item.dataset.stale) {
        note.hidden = passed < Number(item.dataset.stale) * 1000;
      }
    });
  }
  tell();
  setInterval(tell, 30000);
  var opened = [];
  window.addEventListener("beforeprint", function () {
    opened = Array.prototype.slice.call(document.querySelectorAll("details:not([open])"));
    opened.forEach(function (item) { item.open = true; });
  });
  window.addEventListener("afterprint", function () {
    opened.forEach(function (item) { item.open = false; });
  });
  function reveal() {
    var item = location.hash && document.getElementById(location.hash.slice(1));
    var fold = item && item.querySelector("details");
    if (item && item.tagName === "DETAILS") { fold = item; }
    if (fold && item.classList.contains("well")) { fold.open = true; item.scrollIntoView(); }
  }
  window.addEventListener("hashchange", reveal);
  reveal();
}());
