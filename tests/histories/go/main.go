// Judges histories of callers by porcupine: whether there is one order, in accordance with the time at which requests
// were sent and answered, in which a ledger with floors would have given every answer. Reads histories from standard
// input and writes a word for each: linearizable, illegal, or undecided when it takes too long.
package main

import (
	"encoding/json"
	"log"
	"math"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

const accountsMax = 8

const secondsMax = 60

type account struct {
	Balance int64
	Minimum *int64
}

// call is one request; debit, credit and account are places in the list of accounts, key one in the list of keys.
type call struct {
	Caller    int
	Invoked   int64
	Completed *int64
	Kind      string
	Key       int
	Debit     int
	Credit    int
	Amount    int64
	Account   int
	Said      string
	Balance   int64
}

type history struct {
	Accounts []account
	Keys     int
	Calls    []call
}

// ledger is what the model is at one time: the balances, and what was decided under each key (a, r, or a dot).
type ledger struct {
	Balances [accountsMax]int64
	Decided  string
}

func (l ledger) decide(h *history, c call) (ledger, byte) {
	if decided := l.Decided[c.Key]; decided != '.' {
		return l, decided
	}
	decided := byte('r')
	minimum := h.Accounts[c.Debit].Minimum
	if minimum == nil || l.Balances[c.Debit]-c.Amount >= *minimum {
		decided = 'a'
		l.Balances[c.Debit] -= c.Amount
		l.Balances[c.Credit] += c.Amount
	}
	l.Decided = l.Decided[:c.Key] + string(decided) + l.Decided[c.Key+1:]
	return l, decided
}

// step returns what the ledger can be after a call that was answered so. What nobody answered has happened, or never will.
func step(h *history, l ledger, c call) []interface{} {
	if c.Kind == "read" {
		if l.Balances[c.Account] == c.Balance {
			return []interface{}{l}
		}
		return nil
	}
	after, decided := l.decide(h, c)
	switch {
	case c.Said == "unknown":
		return []interface{}{after, l}
	case c.Said == "applied" && decided == 'a', c.Said == "rejected" && decided == 'r':
		return []interface{}{after}
	}
	return nil
}

func model(h *history) porcupine.Model {
	start := ledger{}
	for place, account := range h.Accounts {
		start.Balances[place] = account.Balance
	}
	for range h.Keys {
		start.Decided += "."
	}
	nondeterministic := porcupine.NondeterministicModel{
		Init: func() []interface{} { return []interface{}{start} },
		Step: func(state interface{}, input interface{}, _ interface{}) []interface{} {
			return step(h, state.(ledger), input.(call))
		},
		Equal: func(one interface{}, other interface{}) bool { return one == other },
	}
	return nondeterministic.ToModel()
}

func judge(h *history) string {
	var operations []porcupine.Operation
	for _, c := range h.Calls {
		completed := int64(math.MaxInt64)
		if c.Completed != nil {
			completed = *c.Completed
		}
		operation := porcupine.Operation{ClientId: c.Caller, Input: c, Call: c.Invoked, Return: completed}
		operations = append(operations, operation)
	}
	switch porcupine.CheckOperationsTimeout(model(h), operations, secondsMax*time.Second) {
	case porcupine.Ok:
		return "linearizable"
	case porcupine.Illegal:
		return "illegal"
	}
	return "undecided"
}

func main() {
	var histories []history
	if err := json.NewDecoder(os.Stdin).Decode(&histories); err != nil {
		log.Fatal(err)
	}
	words := []string{}
	for place := range histories {
		words = append(words, judge(&histories[place]))
	}
	if err := json.NewEncoder(os.Stdout).Encode(words); err != nil {
		log.Fatal(err)
	}
}
