package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completing is how long a shell waits for what it offers.
const completing = 5 * time.Second

// completeFirst makes a shell offer the objects of a noun as the first argument.
func (a *app) completeFirst(n noun) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.offer(cmd, n, begun)
	}
}

// completeKind makes a shell offer the kinds of objects, and then the objects of one.
func (a *app) completeKind(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return kindNames(), cobra.ShellCompDirectiveNoFileComp
	}
	n, ok := kinds[args[0]]
	if !ok || len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.offer(cmd, n, begun)
}

// completeOption makes a shell offer the objects of a noun as the value of an option.
func (a *app) completeOption(n noun) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return a.offer(cmd, n, begun)
	}
}

func (a *app) offer(cmd *cobra.Command, n noun, begun string) ([]string, cobra.ShellCompDirective) {
	c, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completing)
	defer cancel()
	list, err := n.list(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return offers(list, begun), cobra.ShellCompDirectiveNoFileComp
}

// offers are the words that begin as what was typed: names that only one object has,
// and IDs, where there is no such name or something was typed already.
func offers(list []known, begun string) []string {
	count := map[string]int{}
	for _, k := range list {
		count[k.name]++
	}
	var words []string
	add := func(word, note string) {
		if strings.HasPrefix(word, begun) && !strings.ContainsAny(word, " \t\r\n") {
			words = append(words, strings.TrimSuffix(word+"\t"+oneLine(note), "\t"))
		}
	}
	for _, k := range list {
		unique := k.name != "" && count[k.name] == 1
		if unique {
			add(k.name, k.id)
		}
		if !unique || begun != "" {
			add(k.id, k.note)
		}
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// oneLine is a note without what would end it.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// complete makes a shell offer fixed words as the value of an option.
func choices(c *cobra.Command, option string, words ...string) {
	c.RegisterFlagCompletionFunc(option, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}
