#include "daemon/channels/exchange.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "zsync/flow.hpp"
#include "zsync/spawn.hpp"
#include "zsync/testing/sim_runtime.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

using namespace std::chrono_literals;
using zsync::testing::SimRuntime;

constexpr int64_t kSecond = 1'000'000'000;
using Reply = absl::StatusOr<std::string>;
using ExchangePtr = std::shared_ptr<Exchange>;

ExchangePtr make(uint64_t waiting_max = 100) {
  return std::make_shared<Exchange>("ask", waiting_max, [] { return int64_t{7}; });
}
Task<Reply> ask(ExchangePtr exchange, std::string body, int64_t timeout = kSecond) {
  co_return co_await exchange->request(std::move(body), "", timeout);
}
std::string reason(const Reply& reply) {
  return reply.ok() ? "" : fault_detail(reply.status())->reason;
}
Task<void> answer(ExchangePtr exchange, int count) {
  Exchange::Responder responder(exchange);
  while (count > 0) {
    auto inquiries = co_await responder.next(2);
    if (!inquiries.ok() || inquiries->empty()) co_return;
    count -= static_cast<int>(inquiries->size());
    for (const Inquiry& one : *inquiries) responder.reply(one.id, absl::StrCat(one.body, "!"));
  }
}

TEST(Exchange, EveryRequestGetsTheAnswerThatIsItsWhateverTheOrder) {
  zsync::testing::explore(200, [](SimRuntime& sim) {
    auto exchange = make();
    auto program = [](ExchangePtr exchange) -> Task<void> {
      Exchange::Responder first(exchange);  // so that there is one from the start
      auto a = spawn(answer(exchange, 100));
      auto b = spawn(answer(exchange, 100));
      std::vector<TaskHandle<Reply>> asked;
      for (int i = 0; i < 12; ++i) asked.push_back(spawn(ask(exchange, std::to_string(i))));
      for (int i = 0; i < 12; ++i) {
        const Reply reply = co_await asked[i];
        EXPECT_TRUE(reply.ok()) << reply.status();
        if (reply.ok()) EXPECT_EQ(*reply, absl::StrCat(i, "!"));
      }
      exchange->close();
      co_await a;
      co_await b;
      EXPECT_EQ(reason(co_await ask(exchange, "x")), "CLOSED");
    };
    sim.run(program(exchange));
    EXPECT_EQ(exchange->counts().answered, 12u);
    EXPECT_EQ(exchange->counts().in_hand, 0u);
  });
}

TEST(Exchange, WithoutAResponderTheErrorComesAtOnce) {
  SimRuntime sim(1);
  auto exchange = make();
  const rt::TimePoint start = sim.now();
  EXPECT_EQ(reason(sim.run(ask(exchange, "x"))), "NO_RESPONDERS");
  EXPECT_EQ(sim.now(), start);
}

TEST(Exchange, ARequestThatTakesTooLongEndsAndItsLateReplyIsDropped) {
  SimRuntime sim(1);
  auto exchange = make();
  auto program = [](ExchangePtr exchange) -> Task<void> {
    Exchange::Responder responder(exchange);
    auto asked = spawn(ask(exchange, "x"));
    auto inquiries = co_await responder.next(1);
    EXPECT_EQ(inquiries->size(), 1u);
    EXPECT_EQ(reason(co_await asked), "TIMEOUT");
    EXPECT_FALSE(responder.reply(inquiries->front().id, "late"));
    EXPECT_FALSE(responder.reply(inquiries->front().id, "again"));
    EXPECT_FALSE(responder.reply(900, "never asked"));
    EXPECT_EQ(exchange->counts().late, 1u);
    // One that nobody took is not handed out after its time.
    EXPECT_EQ(reason(co_await ask(exchange, "y")), "TIMEOUT");
    auto z = spawn(ask(exchange, "z"));
    EXPECT_EQ((co_await responder.next(9))->front().body, "z");
    z.cancel();
  };
  sim.run(program(exchange));
}

TEST(Exchange, AResponderThatGoesAwayEndsWhatItHasAndTheLastOneWhatWaits) {
  SimRuntime sim(1);
  auto exchange = make();
  auto program = [](ExchangePtr exchange) -> Task<void> {
    auto responder = std::make_unique<Exchange::Responder>(exchange);
    auto other = std::make_unique<Exchange::Responder>(exchange);
    auto a = spawn(ask(exchange, "a"));
    (void)co_await responder->next(1);
    auto b = spawn(ask(exchange, "b"));
    co_await sleep(1ms);
    responder.reset();
    const Reply left = co_await a;
    EXPECT_TRUE(absl::IsUnavailable(left.status())) << left.status();
    EXPECT_EQ(reason(left), "RESPONDER_LEFT");
    EXPECT_EQ(exchange->counts().waiting, 1u) << "b waits for the other one";
    other.reset();
    EXPECT_EQ(reason(co_await b), "NO_RESPONDERS");
  };
  sim.run(program(exchange));
}

TEST(Exchange, WhatARespondersErrorSaysComesBackAndAFullExchangeRefuses) {
  SimRuntime sim(1);
  auto exchange = make(1);
  auto program = [](ExchangePtr exchange) -> Task<void> {
    Exchange::Responder responder(exchange);
    auto a = spawn(ask(exchange, "a"));
    co_await sleep(1ms);
    EXPECT_TRUE(absl::IsResourceExhausted((co_await ask(exchange, "b")).status()));
    auto inquiries = co_await responder.next(9);
    responder.reply(inquiries->front().id, absl::AbortedError("no such row"));
    EXPECT_EQ((co_await a).status().message(), "no such row");
    auto c = spawn(ask(exchange, "c"));
    (void)co_await responder.next(1);
    exchange->remove();
    EXPECT_TRUE(absl::IsNotFound((co_await c).status()));
    EXPECT_TRUE(absl::IsNotFound((co_await responder.next(1)).status()));
  };
  sim.run(program(exchange));
}

}  // namespace
}  // namespace zsync::daemon
